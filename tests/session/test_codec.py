"""Encoding and decoding of session values; unsupported types raise."""

import json
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import TZPATH, ZoneInfo

import pytest
from asyncpg.pgproto.pgproto import UUID as UUIDOfAsyncpg  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from cartapp.session import UnreadableRecord, UnsupportedValue
from cartapp.session.codec import decode, decode_all, encode, join, split

BERLIN = ZoneInfo("Europe/Berlin")
SECONDS = timezone(timedelta(minutes=53, seconds=28, microseconds=7))  # local mean time of Berlin, and 7 µs
ZONES = [None, UTC, timezone(timedelta(hours=5, minutes=30)), SECONDS, BERLIN, ZoneInfo("Asia/Kathmandu")]
datetimes = st.builds(
    lambda at, fold: at.replace(fold=fold), st.datetimes(timezones=st.sampled_from(ZONES)), st.integers(0, 1)
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | datetimes
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
    """Return the value with the types of all its parts, so that True, 1 and 1.0 differ."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return type(value), value, value.fold, value.tzinfo, value.utcoffset()
    return type(value), value


@given(values)
def test_values_round_trip(value: Any) -> None:
    assert typed(decode(encode("key", value))) == typed(value)


@given(values, values)
def test_different_values_have_different_encodings(before: Any, after: Any) -> None:
    if encode("key", before) == encode("key", after):
        assert typed(before) == typed(after)


@given(st.dictionaries(keys, values, max_size=4))
def test_whole_sessions_round_trip(data: dict[str, Any]) -> None:
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
        {"nested": [{(1, 2): "a"}]},
        {"nested": [{float("nan"): "a"}]},
        {date(2026, 1, 2): "a"},
        float("nan"),
        float("inf"),
        [1, float("nan")],
        {"a": 1, "b": -float("inf")},
        [{"a": [float("inf")]}],
        [1, timedelta(1)],
        Decimal,
        Colour.RED,
        1j,
        timedelta(1),
        timezone(timedelta(1, -1)),
        "\ud800",
        ["\udfff"],
        {"\ud800": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_unsupported_types_raise_an_error_with_the_key(value: object) -> None:
    with pytest.raises(UnsupportedValue, match="'colour'"):
        encode("colour", value)


def test_deep_nesting_raises() -> None:
    value: list[Any] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(UnsupportedValue, match="deeper"):
        encode("deep", value)


def test_keys_must_be_strings() -> None:
    with pytest.raises(UnsupportedValue, match="strings"):
        encode(1, "value")  # type: ignore[arg-type]


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


def test_subclasses_are_decoded_as_their_base_type() -> None:
    value = [Text("<b>"), Whole(3), {"price": Real(1.5)}, True]
    assert typed(decode(encode("key", value))) == typed(["<b>", 3, {"price": 1.5}, True])


def test_tuples_are_decoded_as_lists() -> None:
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
def test_garbage_raises_unreadable_record_only(garbage: bytes) -> None:
    with pytest.raises(UnreadableRecord):
        decode_all(garbage)


def test_encoding_of_the_five_types() -> None:
    data = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "price": Decimal("79.90"),
        "blob": b"\x00\xff",
        "uuid": UUID("12345678123456781234567812345678"),
    }
    assert decode_all(join({key: encode(key, value) for key, value in data.items()})) == data


# -- subclasses, zones and keys -----------------------------------------------------------------------------


class Moment(datetime):
    """A datetime subclass with its own `__str__`, as in pendulum and frozen clocks."""

    def isoformat(self, *_args: Any, **_options: Any) -> str:
        return "today"

    __str__ = isoformat


class Day(date):
    def isoformat(self) -> str:
        return "today"


class Money(Decimal):
    def __str__(self) -> str:
        return f"{Decimal.__str__(self)} EUR"


class Blob(bytes):
    pass


class Identifier(UUID):
    def __str__(self) -> str:
        return self.hex[:8]


SUBCLASSES: list[tuple[Any, Any]] = [
    (Moment(2026, 1, 2, 3, 4, 5, 6), datetime(2026, 1, 2, 3, 4, 5, 6)),
    (
        Moment(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
        datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1),
    ),
    (Day(2026, 1, 2), date(2026, 1, 2)),
    (Money("79.90"), Decimal("79.90")),
    (Blob(b"\x00\xff"), b"\x00\xff"),
    (Identifier(int=7), UUID(int=7)),
    (UUIDOfAsyncpg("12345678123456781234567812345678"), UUID("12345678123456781234567812345678")),
]


@pytest.mark.parametrize(("value", "base"), SUBCLASSES, ids=lambda value: type(value).__name__)
def test_subclass_instances_are_decoded_as_equal_base_values(value: Any, base: Any) -> None:
    restored = decode(encode("key", {"nested": [value]}))["nested"][0]
    assert typed(restored) == typed(base)
    assert restored == value


def test_a_nan_of_a_decimal_subclass_round_trips() -> None:
    for text in ("NaN", "sNaN123", "-Infinity"):
        assert str(decode(encode("key", Money(text)))) == text


class Stamp(datetime):
    """A datetime with nanoseconds, as in pandas."""

    nanosecond = 7

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stamp) and super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def test_a_subclass_instance_without_an_equal_base_value_raises() -> None:
    with pytest.raises(UnsupportedValue, match=r"'at'.*not equal"):
        encode("at", Stamp(2026, 1, 2))


class Namesake:
    """A UUID class unrelated to the standard one."""


Namesake.__name__ = Namesake.__qualname__ = "UUID"


def test_the_error_contains_the_class_with_its_module() -> None:
    with pytest.raises(UnsupportedValue, match=r"tests\.session\.test_codec\.UUID is neither"):
        encode("id", Namesake())


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "zone", [None, UTC, timezone(timedelta(hours=-3)), SECONDS, BERLIN, ZoneInfo("UTC")], ids=str
)
@pytest.mark.parametrize(
    "wall",
    [
        datetime(2026, 6, 1, 12),
        datetime(2026, 10, 25, 2, 30),  # occurs twice in Berlin
        datetime(2026, 3, 29, 2, 30),  # does not exist in Berlin
        datetime(1880, 1, 1),  # an offset with seconds in Berlin
    ],
    ids=str,
)
def test_datetimes_round_trip_with_zone_and_fold(wall: datetime, zone: tzinfo | None, fold: int) -> None:
    value = wall.replace(tzinfo=zone, fold=fold)
    restored = decode(encode("at", value))
    assert restored == value
    assert (restored.utcoffset(), restored.fold) == (value.utcoffset(), fold)
    assert restored.tzinfo == zone
    assert type(restored) is datetime


class Other(tzinfo):
    """A tzinfo class unknown to the library."""

    def utcoffset(self, _at: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _at: datetime | None) -> None:
        return None

    def tzname(self, _at: datetime | None) -> str:
        return "OTHER"


def test_other_time_zones_are_decoded_as_fixed_offsets() -> None:
    value = datetime(2026, 1, 2, 3, tzinfo=Other())
    restored = decode(encode("at", value))
    assert restored == value
    assert restored.tzinfo == timezone(timedelta(hours=1))


def test_an_unnamed_zone_is_decoded_as_its_offset() -> None:
    with Path(_zone_folder(), "Europe/Berlin").open("rb") as file:
        unnamed = ZoneInfo.from_file(file)
    value = datetime(2026, 1, 2, 3, tzinfo=unnamed)
    assert decode(encode("at", value)) == value


def _zone_folder() -> str:
    return next(path for path in TZPATH if Path(path, "Europe/Berlin").is_file())


@pytest.mark.parametrize(
    "zone",
    ["Nowhere/Atlantis", "Europe/Paris/", "../Berlin", "America/Lima"],  # the last has another offset
)
def test_a_zone_with_other_rules_on_this_host_keeps_the_instant(zone: str) -> None:
    raw = f'{{"$datetime":"2026-01-02T03:00:00+01:00[{zone}]"}}'.encode()
    assert decode(raw) == datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1)))


def test_values_of_earlier_versions_are_readable() -> None:
    raw = b'{"a":{"$datetime":"2026-01-02T03:04:05.000678+00:00"},"b":{"$datetime":"2026-01-02T03:04:05"}}'
    at = datetime(2026, 1, 2, 3, 4, 5)
    assert decode_all(raw) == {"a": at.replace(microsecond=678, tzinfo=UTC), "b": at}


@pytest.mark.parametrize(
    "garbage",
    ["2026-01-02T03:00[", "2026-01-02T03:00]", "2026-01-02T03:00[]", "[_fold=1]", "2026-01-02[_fold=2]"],
)
def test_a_malformed_datetime_is_unreadable(garbage: str) -> None:
    with pytest.raises(UnreadableRecord):
        decode_all(b'{"a":{"$datetime":"%s"}}' % garbage.encode())


class Number(IntEnum):
    SEVEN = 7


class Name(StrEnum):
    ALICE = "alice"


json_keys = (
    text | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.dictionaries(json_keys, st.integers() | st.dictionaries(json_keys, st.none(), max_size=3)))
def test_nested_keys_become_the_strings_of_the_standard_json(value: dict[Any, Any]) -> None:
    objects: list[list[tuple[str, Any]]] = []

    def note(found: list[tuple[str, Any]]) -> dict[str, Any]:
        objects.append(found)
        return dict(found)

    expected = json.loads(json.dumps(value), object_pairs_hook=note)
    if all(len(found) == len(dict(found)) for found in objects):
        assert decode(encode("key", value)) == expected
    else:
        with pytest.raises(UnsupportedValue, match="would both be stored as"):
            encode("key", value)


def test_encoding_of_nested_keys() -> None:
    value = {2: "a", -2.5: "b", True: "c", None: "d", Number.SEVEN: "e", Name.ALICE: "f", Text("g"): {8: []}}
    stored = decode(encode("key", value))
    assert stored == {"2": "a", "true": "c", "-2.5": "b", "null": "d", "7": "e", "alice": "f", "g": {"8": []}}
    assert {type(key) for key in stored} == {str}
    assert decode(encode("key", {Name.ALICE: 1, 10**30: 2})) == {"alice": 1, str(10**30): 2}


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {None: 1, "null": 2}, {1.5: 1, "1.5": 2}], ids=str)
def test_nested_keys_with_the_same_encoding_raise(value: dict[Any, Any]) -> None:
    with pytest.raises(UnsupportedValue, match=r"'key'.*would both be stored as '(1|null|1\.5)'"):
        encode("key", [value])
