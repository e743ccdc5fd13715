"""The five types that JSON lacks, as tagged text: datetime, date, Decimal, bytes and UUID.

A subclass, such as the UUID of asyncpg or the datetime of pendulum, is written as its base type. A datetime
is text of RFC 9557, `2026-10-25T02:30:00+01:00[Europe/Berlin][_fold=1]`: the first brackets hold the key of a
ZoneInfo, the last a fold that is not 0.
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
_iso_parsed = datetime.fromisoformat  # bound here: a frozen clock replaces the names of a module


class UnequalValue(ValueError):
    """The value holds more than its base type keeps, so it would not come back equal."""


def _datetime_text(value: datetime) -> str:
    text = datetime.isoformat(value)
    zone = value.tzinfo.key if isinstance(value.tzinfo, ZoneInfo) else None
    if zone is not None and _ZONE_KEY.fullmatch(zone):
        text += f"[{zone}]"
    return f"{text}[_fold=1]" if value.fold else text


def _parsed_datetime(text: str) -> datetime:
    if not text.endswith("]"):
        return _iso_parsed(text)
    matched = _DATETIME.fullmatch(text)
    if matched is None:
        raise ValueError("a datetime is malformed")
    iso, zone, fold = matched.groups()
    value = _iso_parsed(iso).replace(fold=1 if fold else 0)
    return value if zone is None else _zoned(value, zone)


def _zoned(value: datetime, key: str) -> datetime:
    """Return the value in its zone; with its offset alone where this host has other rules for the zone.

    Both compare equal to what was stored, a moment by the changed rules would not.
    """
    try:
        zoned = value.replace(tzinfo=ZoneInfo(key))
    except (KeyError, ValueError, OSError):  # no such zone on this host
        return value
    return zoned if zoned.utcoffset() == value.utcoffset() else value


# The base's own methods throughout: a subclass may print itself otherwise.
_TO_TEXT: dict[type, Callable[[Any], str]] = {
    datetime: _datetime_text,
    date: date.isoformat,
    Decimal: Decimal.__str__,
    bytes: lambda value: b64encode(value).decode(),
    UUID: UUID.__str__,
}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "$datetime": _parsed_datetime,
    "$date": date.fromisoformat,
    "$Decimal": Decimal,
    "$bytes": b64decode,
    "$UUID": UUID,
}
_TAGS = {kind: f"${kind.__name__}" for kind in _TO_TEXT}


def tag(value: object) -> dict[str, str] | None:
    """Return a value of the five types as its tag and text; None for any other value.

    Raises `UnequalValue` for a subclass with more in it than its base type keeps.
    """
    to_text = _TO_TEXT.get(type(value))
    if to_text is not None:
        return {_TAGS[type(value)]: to_text(value)}
    for kind, to_text in _TO_TEXT.items():  # datetime before date, of which it is a subclass
        if isinstance(value, kind):
            tagged = {_TAGS[kind]: to_text(value)}
            _check_equal(value, untag(_TAGS[kind], tagged[_TAGS[kind]]))
            return tagged
    return None


def untag(tag: str, text: object) -> Any:
    """Return the value of a tag and its text. Raises KeyError, ValueError and decimal.InvalidOperation."""
    if not isinstance(text, str):
        raise ValueError(f"{tag} holds no text")
    return _FROM_TEXT[tag](text)


def _check_equal(value: Any, restored: Any) -> None:
    if isinstance(restored, Decimal) and restored.is_nan():
        return  # equal to nothing, itself included
    equal = True
    if isinstance(restored, datetime):
        # Datetimes of different zones are never equal in an hour that comes twice (PEP 495), so their offsets
        # and their wall times are compared apart.
        equal = value.utcoffset() == restored.utcoffset()
        value, restored = value.replace(tzinfo=None), restored.replace(tzinfo=None)
    equal = equal and restored == value
    if not equal:
        raise UnequalValue(f"it would come back as a {type(restored).__name__} that is not equal to it")
