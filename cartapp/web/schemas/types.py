"""Field types: parsing, error message and JSON schema of request fields.

Stricter than Pydantic's coercion: `true` is not a number, ` 3` and `٣` are not digits, and the length of a
number is checked before it is converted.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from cartapp.cart import MAX_NAME, parse_decimal, parse_price
from cartapp.messages import Message, Value, _

from ..i18n import languages

MAX_EMAIL = 254
"""Characters that fit into an SMTP path (RFC 5321, section 4.5.3.1.3)."""

_decoder = msgspec.json.Decoder(float_hook=parse_decimal)  # prices stay exact

_DIGITS = re.compile(r"[0-9]{1,16}")
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f.]+(?:\.[^@\s\x00-\x1f\x7f.]+)+")

# Characters without width outside the category Cf: Unicode's property Default_Ignorable_Code_Point.
_IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_FLAGS = {"": False, "false": False, "0": False, "off": False, "true": True, "1": True, "on": True}


def field_error(template: str, **values: Value) -> PydanticCustomError:
    """A validation error that carries its template and values, for `validation_message`."""
    return PydanticCustomError("invalid_field", template, {"template": template, **values})


def validation_message(error: Mapping[str, Any]) -> Message:
    """The message of a Pydantic error."""
    context = dict(error.get("ctx", {}))
    template = context.pop("template", None)
    return Message(template, **context) if template else Message(error["msg"])


def validator(parse: Callable[[object], Any], template: str, **values: Value) -> BeforeValidator:
    """Parse a value; a `ValueError` becomes a validation error with this template and the values."""

    def validate(value: object, info: ValidationInfo) -> Any:
        try:
            return parse(value)
        except ValueError:
            raise field_error(template, field=info.field_name or "The value", **values) from None

    return BeforeValidator(validate)


def whole_number(low: int, high: int) -> BeforeValidator:
    """A whole number in a range, as a JSON number or a string of digits."""
    template = _("{field} must be a whole number from {low} to {high}")
    return validator(lambda value: parse_int(value, low, high), template, low=low, high=high)


def parse_int(value: object, low: int, high: int) -> int:
    """Parse a number, digits, or a decimal without a fraction (JSON Schema Core 2020-12, section 4.2.3).

    Raises `ValueError`, also outside the range.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    # The range comes before int(), which would write out 1E+999999999.
    if isinstance(value, Decimal) and low <= value <= high and value == int(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError
    return value


def number_schema(low: int, high: int, digits: str) -> WithJsonSchema:
    """An integer, or a string of digits; their pattern matches numbers in the range only."""
    number = {"type": "integer", "minimum": low, "maximum": high}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": digits}]})


def text(high: int, *, low: int = 0) -> BeforeValidator:
    """A text of at most `high` characters; with `low=1`, not only whitespace."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or len(value) > high or (low and not value.strip()):
            raise ValueError
        return value

    if low:
        return validator(parse, _("{field} must be text of 1 to {high} characters"), high=high)
    return validator(parse, _("{field} must be text of at most {high} characters"), high=high)


def text_schema(high: int, **more: Any) -> WithJsonSchema:
    """A string of at most `high` characters."""
    return WithJsonSchema({"type": "string", "maxLength": high, **more})


def json_list(high: int) -> BeforeValidator:
    """A list of 1 to `high` JSON objects, or its JSON text."""

    def parse(value: object) -> list[Any]:
        try:
            decoded = _decoder.decode(value) if isinstance(value, str) else value
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            raise ValueError from None
        if not isinstance(decoded, list) or not 1 <= len(decoded) <= high:
            raise ValueError
        if not all(isinstance(item, dict) for item in decoded):
            raise ValueError
        return decoded

    return validator(parse, _("{field} must be a list of 1 to {high} items"), high=high)


def list_schema(item: dict[str, Any], high: int) -> WithJsonSchema:
    """A list of 1 to `high` items, or its JSON text."""
    items = {"type": "array", "items": item, "minItems": 1, "maxItems": high}
    return WithJsonSchema({"anyOf": [items, {"type": "string", "contentMediaType": "application/json"}]})


def one_of(template: str, words: tuple[str, ...]) -> BeforeValidator:
    """One of a few words."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return validator(parse, template)


def parse_person_name(value: object) -> str:
    """Parse a name and strip it. Raises `ValueError`, also for control characters and surrogates.

    A terminal that does not send UTF-8 gives surrogates, which no database can store.
    """
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.strip():
        raise ValueError
    name = value.strip()
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError
    return name


def parse_email(value: object) -> str:
    """Parse an address. The pattern catches typing errors; it cannot tell whether the address works."""
    if not isinstance(value, str) or len(value) > MAX_EMAIL or not _EMAIL.fullmatch(value):
        raise ValueError
    if _has_invisible(value):
        raise ValueError
    return value


def parse_optional_email(value: object) -> str:
    """Parse an address or an empty string."""
    return "" if value == "" else parse_email(value)


def parse_flag(value: object) -> bool:
    """Parse a JSON boolean or a checkbox value; forms send `on`."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.lower() not in _FLAGS:
        raise ValueError
    return _FLAGS[value.lower()]


def parse_text(value: object) -> str:
    """Parse any string."""
    if not isinstance(value, str):
        raise ValueError
    return value


def parse_language_tag(value: object) -> str:
    """Parse a BCP 47 tag."""
    if not isinstance(value, str) or not languages.is_tag(value):
        raise ValueError
    return value


def _has_invisible(text: str) -> bool:
    """Return whether a text has control, format or zero-width characters."""
    return _IGNORABLE.search(text) is not None or any(
        unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text
    )


Cents = Annotated[
    int,
    validator(parse_price, _("{field} must be a number from 0 to 1000000 with at most two decimals")),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": 1_000_000, "multipleOf": 0.01},
                {"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,2})?$"},
            ]
        }
    ),
]
"""A price in the shop's currency, read as whole cents."""

ProductName = Annotated[str, text(MAX_NAME, low=1), text_schema(MAX_NAME, pattern=r"\S")]
GuestName = Annotated[str, text(MAX_NAME), text_schema(MAX_NAME)]
PersonName = Annotated[
    str,
    validator(
        parse_person_name,
        _("{field} must be text of 1 to {high} characters without control characters"),
        high=MAX_NAME,
    ),
    text_schema(MAX_NAME, pattern="^[A-Za-z]{1,40}$"),
]

_EMAIL_MESSAGE = _("{field} must be an email address such as alice@example.com")
_EMAIL_PATTERN = r"[a-z]{1,20}@[a-z]{1,20}\.[a-z]{2,20}"

Email = Annotated[
    str,
    validator(parse_email, _EMAIL_MESSAGE),
    WithJsonSchema({"type": "string", "pattern": f"^{_EMAIL_PATTERN}$"}),
]
OptionalEmail = Annotated[
    str,
    validator(parse_optional_email, _EMAIL_MESSAGE),
    WithJsonSchema({"type": "string", "pattern": f"^({_EMAIL_PATTERN})?$"}),
]
Password = Annotated[
    str,
    validator(parse_text, _("{field} must be text")),
    WithJsonSchema({"type": "string", "format": "password"}),
]
"""Any text; `cartapp.accounts` decides about new passwords."""

Flag = Annotated[
    bool,
    validator(parse_flag, _("{field} must be true or false")),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["true", "false", "on", "off"]}]}
    ),
]
LanguageTag = Annotated[
    str,
    validator(
        parse_language_tag,
        _("{field} must be a language tag (BCP 47) of at most {high} characters, such as en or de-AT"),
        high=languages.MAX_TAG,
    ),
    WithJsonSchema({"type": "string", "pattern": "^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$"}),
]
