"""Encoding of session data: JSON, with tags for the five types that JSON lacks (see `values`).

Each top-level key is encoded separately, so that a change of one key leaves the bytes of the others alone.
"""

import math
from decimal import InvalidOperation
from typing import Any

import msgspec

from . import values
from .errors import UnreadableRecord, UnsupportedValue

Raws = dict[str, msgspec.Raw]
"""Encoded values by key."""

_AS_IS = {str, int, bool, type(None)}
_TEXT = {str}
_MAX_DEPTH = 64  # more than sessions need, and far below the limit of the decoder

_SIGN = ord("$")  # starts every tag; `in` is faster for an int than for bytes
_ESCAPE = "$dict"  # wraps a dict of a caller that looks like a tag

_raws = msgspec.json.Decoder(Raws)
_plain = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def encode(key: str, value: object) -> msgspec.Raw:
    """Encode the value of a key.

    Supports JSON values, datetime, date, Decimal, bytes, UUID and subclasses of these; raises
    `UnsupportedValue`, naming the key, for any other. As in the standard json, tuples are decoded as lists,
    subclasses as their base types, and numbers, booleans and None as keys of nested dicts as strings.
    """
    if not isinstance(key, str):
        raise UnsupportedValue(f"Session keys must be strings, got {key!r}.")
    try:
        key.encode()
        plain = value if _is_plain(value, _MAX_DEPTH) else _tag(value, _MAX_DEPTH)
        return msgspec.Raw(_encoder.encode(plain))
    except (_UnsupportedError, UnicodeEncodeError, ValueError) as error:
        raise UnsupportedValue(f"The session key {key!r} cannot hold this value: {error}.") from None


def decode(raw: msgspec.Raw | bytes) -> Any:
    """Decode a value. Raises `UnreadableRecord` for bytes that `encode` did not produce."""
    try:
        value = _plain.decode(raw)
        return _untag(value) if _SIGN in bytes(raw) else value
    except (msgspec.DecodeError, RecursionError, ValueError, InvalidOperation, KeyError, TypeError) as error:
        raise UnreadableRecord(f"its data cannot be decoded ({type(error).__name__})") from error


def decode_all(data: bytes) -> dict[str, Any]:
    """Decode the data of a record. Raises `UnreadableRecord` for bytes that `join` did not produce."""
    if _SIGN in data:
        return {key: decode(raw) for key, raw in split(data).items()}
    value = decode(data)
    if not isinstance(value, dict):
        raise UnreadableRecord("its data is not a JSON object")
    return value


def join(raws: Raws) -> bytes:
    """Encode all keys as the data of a record."""
    return _encoder.encode(raws)


def split(data: bytes) -> Raws:
    """Split the data of a record by key, without decoding the values. Raises `UnreadableRecord`."""
    try:
        return _raws.decode(data)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise UnreadableRecord(f"its data cannot be decoded ({type(error).__name__})") from error


def largest(raws: Raws, count: int = 3) -> list[str]:
    """Return the keys with the longest values, longest first."""
    return sorted(raws, key=lambda key: len(bytes(raws[key])), reverse=True)[:count]


class _UnsupportedError(Exception):
    pass


def _is_plain(value: Any, depth: int) -> bool:
    """Return whether msgspec encodes a value as `_tag` would: most values, which need no tagged copy."""
    kind = type(value)
    if kind is list:
        items = value
    elif kind is dict and _TEXT.issuperset(map(type, value)) and not _looks_tagged(value):
        items = value.values()
    else:
        return kind in _AS_IS or (kind is float and math.isfinite(value))
    if depth == 0:
        return False
    for item in items:  # noqa: SIM110 - `all` takes longer
        if type(item) not in _AS_IS and not _is_plain(item, depth - 1):
            return False
    return True


def _looks_tagged(value: dict[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("$")


def _tag(value: Any, depth: int) -> Any:
    if type(value) in _AS_IS:
        return value
    if isinstance(value, (dict, list, tuple)) and depth == 0:
        raise _UnsupportedError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        tagged = value if _TEXT.issuperset(map(type, value)) else _with_text_keys(value)
        tagged = {key: _tag(item, depth - 1) for key, item in tagged.items()}
        return {_ESCAPE: tagged} if _looks_tagged(tagged) else tagged
    if isinstance(value, (list, tuple)):
        return [_tag(item, depth - 1) for item in value]
    # A subclass such as Markup is encoded as its base type, as in the standard json; msgspec rejects it.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _UnsupportedError(f"{value} is not a JSON number")
        return float.__float__(value)
    text = values.tag(value)
    if text is None:
        raise _UnsupportedError(
            f"{_name_of(value)} is neither a JSON value nor a datetime, date, Decimal, bytes or UUID"
        )
    return text


def _with_text_keys(value: dict[Any, Any]) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for key, item in value.items():
        text = _key_text(key)
        if text in texts:
            raise _UnsupportedError(f"two keys of a dict in it would both be stored as {text!r}")
        texts[text] = item
    return texts


def _key_text(key: object) -> str:
    """Return the key of a nested dict in the form of the standard json."""
    if isinstance(key, str):
        return str.__str__(key)
    if key is None or isinstance(key, bool):
        return _encoder.encode(key).decode()
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float) and math.isfinite(key):
        return float.__repr__(key)
    raise _UnsupportedError(f"the nested key {key!r} is neither a string nor a number, a boolean or None")


def _name_of(value: object) -> str:
    """Return the class name with its module, to distinguish a foreign UUID class from the standard one."""
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
