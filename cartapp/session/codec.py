"""Session data to bytes and back: JSON, with a tag for the five types that JSON lacks (see `values`).

Each top-level key is encoded on its own, so that a change of one key leaves the others' bytes alone.
"""

import marshal
import math
from decimal import InvalidOperation
from typing import Any

import msgspec

from . import values
from .errors import UnreadableRecord, UnsupportedValue

Raws = dict[str, msgspec.Raw]
"""Data whose values are still encoded."""

_AS_IS = {str, int, bool, type(None)}
_MAX_DEPTH = 64  # deeper nesting than any session needs, far below the decoder's own limit

_SIGN = ord("$")  # where there is none there is no tag; a number is found faster than bytes
_ESCAPE = "$dict"  # wraps a dict of the caller's that looks like one of our tags

_raws = msgspec.json.Decoder(Raws)
_plain = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def encode(key: str, value: object) -> msgspec.Raw:
    """One key's value as bytes.

    Raises `UnsupportedValue`, naming the key, for anything but JSON values, datetime, date, Decimal, bytes,
    UUID and subclasses of these. As in the standard json, tuples come back as lists, subclasses as their base
    types, and keys of nested dicts that are numbers, booleans or None as strings.
    """
    if not isinstance(key, str):
        raise UnsupportedValue(f"Session keys are strings, and {key!r} is not one.")
    try:
        key.encode()
        return msgspec.Raw(_encoder.encode(_tag(value, _MAX_DEPTH)))
    except (_RefusedError, UnicodeEncodeError, ValueError) as error:
        raise UnsupportedValue(f"The session key {key!r} cannot hold this value: {error}.") from None


def decode(raw: msgspec.Raw | bytes) -> Any:
    """The value that `encode` was given. Raises `UnreadableRecord` for bytes that it did not make."""
    try:
        value = _plain.decode(raw)
        return _untag(value) if _SIGN in bytes(raw) else value
    except (msgspec.DecodeError, RecursionError, ValueError, InvalidOperation, KeyError, TypeError) as error:
        raise UnreadableRecord(f"its data cannot be decoded ({type(error).__name__})") from error


def fingerprint(value: Any) -> bytes | None:
    """Bytes that tell whether a value changes later; None for one that has no fingerprint.

    What marshal makes of a cart takes a fifth of the time of `encode` and is as strict about types. Nothing
    is ever read by marshal.
    """
    try:
        return marshal.dumps(value, 2)
    except ValueError:  # a value of the five types that are not JSON
        return None


def decode_all(data: bytes) -> dict[str, Any]:
    """One record's data, decoded. Raises `UnreadableRecord` for anything that `join` did not make."""
    if _SIGN in data:
        return {key: decode(raw) for key, raw in split(data).items()}
    value = decode(data)
    if not isinstance(value, dict):
        raise UnreadableRecord("its data is no set of keys and values")
    return value


def join(raws: Raws) -> bytes:
    """All keys as one record's data."""
    return _encoder.encode(raws)


def split(data: bytes) -> Raws:
    """One record's data as its keys. Raises `UnreadableRecord`."""
    try:
        return _raws.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UnreadableRecord(f"its data cannot be decoded ({type(error).__name__})") from error


def largest(raws: Raws, count: int = 3) -> list[str]:
    """The keys that take most bytes, largest first."""
    return sorted(raws, key=lambda key: len(bytes(raws[key])), reverse=True)[:count]


class _RefusedError(Exception):
    pass


def _tag(value: Any, depth: int) -> Any:
    if type(value) in _AS_IS:
        return value
    if isinstance(value, (dict, list, tuple)) and depth == 0:
        raise _RefusedError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        tagged = value
        for key in value:
            if type(key) is not str:
                tagged = value = _with_text_keys(value)
                break
        if not _AS_IS.issuperset(map(type, value.values())):
            tagged = {key: _tag(item, depth - 1) for key, item in value.items()}
        looks_tagged = len(tagged) == 1 and next(iter(tagged)).startswith("$")
        return {_ESCAPE: tagged} if looks_tagged else tagged
    if isinstance(value, (list, tuple)):
        return [_tag(item, depth - 1) for item in value]
    # A subclass such as Markup is kept as what it is at bottom, as in the standard json; msgspec takes none.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _RefusedError(f"{value} is no JSON number")
        return float.__float__(value)
    text = values.tag(value)
    if text is None:
        raise _RefusedError(
            f"{_name_of(value)} is neither a JSON value nor a datetime, date, Decimal, bytes or UUID"
        )
    return text


def _with_text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for key, item in value.items():
        text = _key_text(key)
        if text in texts:
            raise _RefusedError(f"two keys of a dict in it would both be stored as {text!r}")
        texts[text] = item
    return texts


def _key_text(key: object) -> str:
    """Return a key of a dict as the standard json writes it."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return _encoder.encode(key).decode()
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    raise _RefusedError(f"the nested key {key!r} is neither a string nor a number, a boolean or None")


def _name_of(value: object) -> str:
    """Return the name of a value's class, with its module: another UUID than the standard one is none."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _untag(value: Any) -> Any:
    if isinstance(value, list):
        return [_untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, item),) = value.items()
        if tag == _ESCAPE:
            return {key: _untag(inner) for key, inner in item.items()}
        if tag.startswith("$"):
            return values.untag(tag, item)
    return {key: _untag(item) for key, item in value.items()}
