"""What a field of a request may be. Each kind says in one sentence what is wrong, naming the field.

Nothing is coerced by Python's own rules: `true` is no number, ` 3` and `٣` are no digits, and a number that
is too long is never turned into an integer first.
"""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from cartapp.cart import read_price

from . import languages

MAX_EMAIL = 254
"""Characters that fit into an SMTP path (RFC 5321, section 4.5.3.1.3)."""

_DIGITS = re.compile(r"[0-9]{1,16}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f.]+(?:\.[^@\s\x00-\x1f\x7f.]+)+")


# What has no width and is not of the category Cf: Unicode's property Default_Ignorable_Code_Point.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def _has_invisible(text: str) -> bool:
    """Whether a character controls, formats or has no width: texts that look the same may differ in it."""
    return _IGNORABLE.search(text) is not None or any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text
    )


class Kind(ABC):
    """A kind of field, to stand in `Annotated`."""

    @property
    @abstractmethod
    def problem(self) -> str:
        """What completes the sentence after the field's name."""

    @abstractmethod
    def read(self, value: object) -> Any:
        """The value that the handler gets. Raises `ValueError`."""

    @abstractmethod
    def schema(self) -> Mapping[str, Any]:
        """What OpenAPI says of the field."""

    def sentence(self, field: str) -> str:
        """What a client is told whose value does not fit."""
        return f"{field} {self.problem}"

    def _check(self, value: object, info: core_schema.ValidationInfo) -> Any:
        try:
            return self.read(value)
        except ValueError:
            said = {"sentence": self.sentence(info.field_name or "The value")}
            raise PydanticCustomError("refused", "{sentence}", said) from None

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema())


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number in a range, as a number or as a string of digits."""

    low: int
    high: int
    pattern: str
    """For OpenAPI: strings of digits, all of them in the range."""

    @property
    def problem(self) -> str:
        """The range."""
        return f"must be a whole number from {self.low} to {self.high}"

    def read(self, value: object) -> int:
        """The number; 3.0 is one as well (JSON Schema Core 2020-12, section 4.2.3)."""
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        # The range comes before int(), which would write out 1E+999999999.
        if isinstance(value, Decimal) and self.low <= value <= self.high and value == int(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """An integer, or digits."""
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": self.pattern}]}


@dataclass(frozen=True)
class Price(Kind):
    """An amount of money, which becomes whole cents."""

    @property
    def problem(self) -> str:
        """The range."""
        return "must be a number from 0 to 1000000 with at most two decimals"

    def read(self, value: object) -> int:
        """The cents."""
        return read_price(value)

    def schema(self) -> Mapping[str, Any]:
        """A number, or a string that looks like one."""
        number = {"type": "number", "minimum": 0, "maximum": 1_000_000, "multipleOf": 0.01}
        return {"anyOf": [number, {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,2})?$"}]}


@dataclass(frozen=True)
class Text(Kind):
    """A text with a limit; `blank` says whether it may be empty."""

    high: int
    blank: bool = False

    @property
    def problem(self) -> str:
        """The limit."""
        return f"must be text of {'at most' if self.blank else '1 to'} {self.high} characters"

    def read(self, value: object) -> str:
        """The text as it came."""
        if not isinstance(value, str) or len(value) > self.high or not (self.blank or value.strip()):
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """A string; one of blanks alone is empty."""
        return {"type": "string", "maxLength": self.high} | ({} if self.blank else {"pattern": r"\S"})


@dataclass(frozen=True)
class Email(Kind):
    """An e-mail address, or nothing."""

    @property
    def problem(self) -> str:
        """An example."""
        return "must be an e-mail address such as alice@example.com"

    def read(self, value: object) -> str:
        """The address. No pattern can tell whether it works; this one catches slips."""
        if not isinstance(value, str) or len(value) > MAX_EMAIL:
            raise ValueError
        if value and (not _EMAIL.fullmatch(value) or _has_invisible(value)):
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """A string; the pattern is the common form."""
        return {"type": "string", "pattern": r"^([a-z]{1,20}@[a-z]{1,20}\.[a-z]{2,20})?$"}


@dataclass(frozen=True)
class Secret(Kind):
    """A password: any text. Whether a new one will do is not for the form to say."""

    @property
    def problem(self) -> str:
        """The type."""
        return "must be text"

    def read(self, value: object) -> str:
        """The text exactly as it came."""
        if not isinstance(value, str):
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """A string."""
        return {"type": "string", "format": "password"}


@dataclass(frozen=True)
class LanguageTag(Kind):
    """A BCP 47 tag."""

    @property
    def problem(self) -> str:
        """The form."""
        return (
            f"must be a language tag (BCP 47) of at most {languages.MAX_TAG} characters, such as en or de-AT"
        )

    def read(self, value: object) -> str:
        """The tag as it came."""
        if not isinstance(value, str) or not languages.is_tag(value):
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """A string; the pattern is the common form."""
        return {"type": "string", "pattern": "^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$"}


@dataclass(frozen=True)
class OneOf(Kind):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def choice(self) -> str:
        """The words, as English lists them."""
        return f"{', '.join(self.words[:-1])}, or {self.words[-1]}"

    @property
    def problem(self) -> str:
        """The words."""
        return f"must be {self.choice}"

    def read(self, value: object) -> str:
        """The word."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError
        return value

    def schema(self) -> Mapping[str, Any]:
        """An enumeration."""
        return {"type": "string", "enum": list(self.words)}
