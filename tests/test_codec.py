"""Values come back as they went in; everything else is refused by name."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartapp.session import UnreadableRecord, UnsupportedValue
from cartapp.session.codec import decode, decode_all, encode, fingerprint, join, split

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))]))
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.binary(max_size=20)
    | st.uuids()
)
keys = text | st.sampled_from(["$dict", "$bytes", "$datetime", "$"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """The value with every type in it, so that True, 1 and 1.0 differ."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    return type(value), value


@given(values)
def test_a_value_comes_back_as_it_went_in(value: Any) -> None:
    assert typed(decode(encode("key", value))) == typed(value)


@given(values, values)
def test_a_change_is_never_taken_for_none(before: Any, after: Any) -> None:
    if fingerprint(before) is not None and fingerprint(before) == fingerprint(after):
        assert typed(before) == typed(after)


def test_a_time_in_place_of_its_text_is_a_change() -> None:
    at = datetime(2026, 1, 2)
    assert fingerprint([at]) is None
    assert fingerprint([True]) != fingerprint([1]) != fingerprint([1.0])
    assert fingerprint({"cart": [1, 2.0, "x", None]}) == fingerprint({"cart": [1, 2.0, "x", None]})


@given(st.dictionaries(keys, values, max_size=4))
def test_a_whole_session_comes_back(data: dict[str, Any]) -> None:
    packed = join({key: encode(key, value) for key, value in data.items()})
    assert typed(decode_all(packed)) == typed(data)
    assert {key: typed(decode(raw)) for key, raw in split(packed).items()} == typed(data)


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        {"nested": [{1: "a"}]},
        float("nan"),
        float("inf"),
        Decimal,
        Colour.RED,
        1j,
        timedelta(1),
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(UnsupportedValue, match="'colour'"):
        encode("colour", value)


def test_deep_nesting_is_refused() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(UnsupportedValue, match="deeper"):
        encode("deep", value)


def test_a_key_must_be_text() -> None:
    with pytest.raises(UnsupportedValue, match="strings"):
        encode(1, "value")  # type: ignore[arg-type]


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


def test_a_subclass_comes_back_as_what_it_is_at_bottom() -> None:
    value = [Text("<b>"), Whole(3), {"price": Real(1.5)}, True]
    assert typed(decode(encode("key", value))) == typed(["<b>", 3, {"price": 1.5}, True])


def test_a_tuple_comes_back_as_a_list() -> None:
    assert decode(encode("key", (1, (2,)))) == [1, [2]]


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"[]",
        b"1",
        b"{",
        b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"a":{"$datetime":"never"}}',
        b'{"a":{"$Decimal":"x"}}',
        b'{"a":{"$UUID":7}}',
        b'{"a":{"$unknown":"x"}}',
        b'{"a":"\xff"}',
        b"\x80\x04\x95",
    ],
)
def test_garbage_is_unreadable_and_nothing_worse(garbage: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode_all(garbage)


def test_the_five_types_by_example() -> None:
    data = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "price": Decimal("79.90"),
        "blob": b"\x00\xff",
        "uuid": UUID("12345678123456781234567812345678"),
    }
    assert decode_all(join({key: encode(key, value) for key, value in data.items()})) == data
