"""Locale formatter: translated texts, money, numbers and times of a page's language."""

import gettext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, format_timedelta
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, get_currency_symbol

from cartapp.catalogue import TEXTS
from cartapp.messages import FieldNames, Message, Value, fill

from .labels import BROWSER, FIELDS, UNKNOWN_BROWSER

CURRENCY = "USD"
_ISOLATE, _END_ISOLATE = "\N{LEFT-TO-RIGHT ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
LOCALES = Path(__file__).parent / "locales"


@dataclass(frozen=True)
class LocaleFormatter:
    """The translations and formats of one language and region."""

    tag: str
    """The language tag, for `lang`."""
    locale: Locale
    texts: gettext.NullTranslations

    @property
    def language(self) -> str:
        """The language without the region, as in `TRANSLATED`."""
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
        # Without isolation, the dollar sign moves away from "US" in right-to-left text.
        symbol = get_currency_symbol(CURRENCY, self.locale)
        return amount.replace(symbol, f"{_ISOLATE}{symbol}{_END_ISOLATE}")

    def number(self, number: int) -> str:
        """A whole number."""
        return format_decimal(number, locale=self.locale)

    def moment(self, time: str) -> str:
        """An ISO 8601 date and time, shown in UTC."""
        moment = _parse_utc(time)
        date = format_date(moment, "medium", locale=self.locale)
        return f"{date}, {format_time(moment, 'short', tzinfo=UTC, locale=self.locale)} UTC"

    def ago(self, time: str) -> str:
        """The time since an ISO 8601 date and time: "2 minutes ago"."""
        elapsed = datetime.now(UTC) - _parse_utc(time)
        return format_timedelta(-max(elapsed, timedelta(0)), add_direction=True, locale=self.locale)

    def duration(self, length: timedelta) -> str:
        """A length of time, rounded to one unit."""
        return format_timedelta(length, threshold=1.5, locale=self.locale)

    def text(self, english: str) -> str:
        """Translate a text from the catalog; other texts are returned unchanged."""
        return self.texts.gettext(english) if english else ""  # gettext("") is the header of the catalog

    def translate(self, message: Message) -> str:
        """Translate a message and format its values."""
        texts = {name: self._value(name, value) for name, value in message.values.items()}
        return fill(self.text(message.template), texts)

    def browser(self, name: str) -> str:
        """A browser as `browser_from_user_agent` names it: "Firefox on Linux"."""
        browser, on, system = name.partition(" on ")
        if on:
            return fill(self.text(BROWSER), {"browser": browser, "system": system})
        return self.text(name) if name == UNKNOWN_BROWSER else name

    def product(self, text: str) -> str:
        """A product's name or description; only those of the built-in products are translated."""
        return self.text(text) if text in TEXTS else text

    def label(self, field: str) -> str:
        """A form field's label."""
        return self.text(FIELDS[field]) if field in FIELDS else field

    def language_name(self, tag: str) -> str:
        """A language's name in this language; its tag if the name is unknown."""
        try:
            return Locale.parse(tag, sep="-").get_display_name(self.locale) or tag
        except (UnknownLocaleError, ValueError):
            return tag

    def _value(self, hole: str, value: Value) -> str:
        match value:
            case Message():
                return self.translate(value)
            case FieldNames():
                return format_list([self.label(field) for field in value], locale=self.locale)
            case timedelta():
                return self.duration(value)
            case int():
                return self.number(value)
        match hole:
            case "field":
                return self.label(value)
            case "product":
                return self.product(value)
        return str(value)


@lru_cache(maxsize=256)  # Babel knows fewer regions of the three languages
def formatter_for(tag: str) -> LocaleFormatter:
    """The formatter of a tag that `page_language` returned."""
    locale = Locale.parse(tag, sep="-")
    texts = gettext.translation("messages", LOCALES, [locale.language], fallback=True)
    return LocaleFormatter(tag, locale, texts)


def _parse_utc(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(UTC)
