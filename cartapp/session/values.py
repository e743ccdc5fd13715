"""Tagged text for the five types that JSON lacks: datetime, date, Decimal, bytes and UUID.

A subclass, such as asyncpg's UUID or pendulum's datetime, is encoded as its base type. A datetime is encoded
by RFC 9557, `2026-10-25T02:30:00+01:00[Europe/Berlin][_fold=1]`: first the key of a ZoneInfo, last a fold
other than 0.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

_ZONE_KEY = re.compile(r"[A-Za-z0-9._+/-]+")
_DATETIME = re.compile(rf"([^\[]*)(?:\[({_ZONE_KEY.pattern})\])?(\[_fold=1\])?")
_parse_iso = datetime.fromisoformat  # a frozen clock in tests replaces the module's names, not this


class UnequalValue(ValueError):
    """A subclass instance that would not be decoded as an equal value."""


def _format_datetime(value: datetime) -> str:
    text = datetime.isoformat(value)
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    if zone is not None and _ZONE_KEY.fullmatch(zone):
        text += f"[{zone}]"
    return f"{text}[_fold=1]" if value.fold else text


def _parse_datetime(text: str) -> datetime:
    if not text.endswith("]"):
        return _parse_iso(text)
    matched = _DATETIME.fullmatch(text)
    if matched is None:
        raise ValueError("a datetime is malformed")
    iso, zone, fold = matched.groups()
    value = _parse_iso(iso).replace(fold=1 if fold else 0)
    return value if zone is None else _apply_zone(value, zone)


def _apply_zone(value: datetime, key: str) -> datetime:
    """Return the value in its zone, or with its offset alone if this host has other rules for the zone.

    Both are equal to the stored value; a time by the other rules would not be.
    """
    try:
        zoned = value.replace(tzinfo=ZoneInfo(key))
    except (KeyError, ValueError, OSError):  # no such zone on this host
        return value
    return zoned if zoned.utcoffset() == value.utcoffset() else value


# Methods of the base types, since a subclass may override them.
_TO_TEXT: dict[type, Callable[[Any], str]] = {
    datetime: _format_datetime,
    date: date.isoformat,
    Decimal: Decimal.__str__,
    bytes: lambda value: b64encode(value).decode(),
    UUID: UUID.__str__,
}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "$datetime": _parse_datetime,
    "$date": date.fromisoformat,
    "$Decimal": Decimal,
    "$bytes": b64decode,
    "$UUID": UUID,
}
_TAGS = {kind: f"${kind.__name__}" for kind in _TO_TEXT}


def tag(value: object) -> dict[str, str] | None:
    """Return the tag and text of a value of the five types, None for any other value.

    Raises `UnequalValue` for an instance of a subclass that its base type cannot represent.
    """
    to_text = _TO_TEXT.get(type(value))
    if to_text is not None:
        return {_TAGS[type(value)]: to_text(value)}
    for kind, to_text in _TO_TEXT.items():  # datetime before its base class date
        if isinstance(value, kind):
            tagged = {_TAGS[kind]: to_text(value)}
            _check_equal(value, untag(_TAGS[kind], tagged[_TAGS[kind]]))
            return tagged
    return None


def untag(tag: str, text: object) -> Any:
    """Decode a tag and its text. Raises KeyError, ValueError and decimal.InvalidOperation."""
    if not isinstance(text, str):
        raise ValueError(f"the value of {tag} is not text")
    return _FROM_TEXT[tag](text)


def _check_equal(value: Any, restored: Any) -> None:
    if isinstance(restored, Decimal) and restored.is_nan():
        return  # equal to nothing, itself included
    equal = True
    if isinstance(restored, datetime):
        # In a repeated hour, datetimes of different zones are never equal (PEP 495), so their offsets and
        # wall times are compared separately.
        equal = value.utcoffset() == restored.utcoffset()
        value, restored = value.replace(tzinfo=None), restored.replace(tzinfo=None)
    equal = equal and restored == value
    if not equal:
        raise UnequalValue(f"it would be restored as a {type(restored).__name__} that is not equal to it")
