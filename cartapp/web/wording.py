"""How a page speaks: its language, and the formats of money, numbers and times that go with it."""

import gettext
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime, format_timedelta
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, get_currency_symbol

from cartapp.catalogue import TEXTS

from .sentences import BROWSER, LABELS, recognised

CURRENCY = "USD"
_ISOLATE, _END_ISOLATE = "\N{LEFT-TO-RIGHT ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
LOCALES = Path(__file__).parent / "locales"


@dataclass(frozen=True)
class Wording:
    """The texts and formats of one language, for one region."""

    tag: str
    """For `lang`."""
    locale: Locale
    texts: gettext.NullTranslations

    @property
    def language(self) -> str:
        """The language alone, as in `TRANSLATED`."""
        return self.locale.language

    @property
    def direction(self) -> str:
        """`ltr` or `rtl`, for `dir`."""
        return self.locale.text_direction

    def money(self, cents: int) -> str:
        """An amount in the shop's currency."""
        amount = format_currency(Decimal(cents).scaleb(-2), CURRENCY, locale=self.locale)
        if self.direction == "ltr":
            return amount
        # Between Arabic words the dollar sign would stray from the letters before it, were they not isolated.
        symbol = get_currency_symbol(CURRENCY, self.locale)
        return amount.replace(symbol, f"{_ISOLATE}{symbol}{_END_ISOLATE}")

    def number(self, number: int) -> str:
        """A whole number."""
        return format_decimal(number, locale=self.locale)

    def moment(self, time: str) -> str:
        """A date and time in ISO 8601, in UTC."""
        return f"{format_datetime(_parsed(time), 'medium', tzinfo=UTC, locale=self.locale)} UTC"

    def ago(self, time: str) -> str:
        """How long ago that was."""
        passed = datetime.now(UTC) - _parsed(time)
        return format_timedelta(-max(passed, timedelta(0)), add_direction=True, locale=self.locale)

    def duration(self, seconds: int) -> str:
        """A length of time."""
        return format_timedelta(timedelta(seconds=seconds), threshold=1.5, locale=self.locale)

    def text(self, english: str) -> str:
        """A text that was marked for extraction elsewhere."""
        return self.texts.gettext(english) if english else ""

    def browser(self, name: str) -> str:
        """A browser as `browser_of` names it: "Firefox on Linux"."""
        browser, on, system = name.partition(" on ")
        said = self.texts.gettext(BROWSER)
        return said.format(browser=browser, system=system) if on else self.sentence(name)

    def product(self, text: str) -> str:
        """A product's name or description; only those that a new shop begins with are translated."""
        return self.texts.gettext(text) if text in TEXTS else text

    def label(self, field: str) -> str:
        """What a field is called on the pages."""
        return self.texts.gettext(LABELS[field]) if field in LABELS else field

    def sentence(self, english: str) -> str:
        """A sentence of the API, of a flash, or of any other part of the shop, as the page says it."""
        template, values = recognised(english)
        if template is None:
            return english
        said = {name: self._value(name, value) for name, value in values.items()}
        return self.texts.gettext(template).format_map(said)

    def language_name(self, tag: str) -> str:
        """What a language is called in this one; its tag when nobody knows."""
        try:
            return Locale.parse(tag, sep="-").get_display_name(self.locale) or tag
        except (UnknownLocaleError, ValueError):
            return tag

    def _value(self, name: str, value: str) -> str:
        match name:
            case "field":
                return self.label(value)
            case "fields":
                labels = [self.label(field) for field in re.split(r",? and |, ", value)]
                return format_list(labels, locale=self.locale)
            case "product":
                return self.product(value)
            case "time":
                return self.duration(int(value.split()[0]))
            case "reason":
                return self.sentence(value)
        return self.number(int(value)) if value.isascii() and value.isdecimal() else value


@lru_cache(maxsize=256)  # no bound is needed: there are as many as Babel knows regions of our languages
def wording(tag: str) -> Wording:
    """The wording for a tag that `page_language` has found."""
    locale = Locale.parse(tag, sep="-")
    texts = gettext.translation("messages", LOCALES, [locale.language], fallback=True)
    return Wording(tag, locale, texts)


def _parsed(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(UTC)
