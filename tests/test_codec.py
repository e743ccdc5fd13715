"""Values come back as they went in; everything else is refused by name."""

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
from cartapp.session.codec import decode, decode_all, encode, fingerprint, join, split

BERLIN = ZoneInfo("Europe/Berlin")
SECONDS = timezone(timedelta(minutes=53, seconds=28, microseconds=7))  # local mean time of Berlin, and a bit
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
    """The value with every type in it, so that True, 1 and 1.0 differ."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return type(value), value, value.fold, value.tzinfo, value.utcoffset()
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
        {"nested": [{(1, 2): "a"}]},
        {"nested": [{float("nan"): "a"}]},
        {date(2026, 1, 2): "a"},
        float("nan"),
        float("inf"),
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


# -- C12: subclasses, zones and keys ------------------------------------------------------------------------


class Moment(datetime):
    """A datetime as pendulum and frozen clocks have it: of another class, printed in another way."""

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
def test_c12_a_subclass_comes_back_equal_as_its_base_type(value: Any, base: Any) -> None:
    restored = decode(encode("key", {"nested": [value]}))["nested"][0]
    assert typed(restored) == typed(base)
    assert restored == value


def test_c12_a_subclass_of_decimal_that_is_not_a_number() -> None:
    for text in ("NaN", "sNaN123", "-Infinity"):
        assert str(decode(encode("key", Money(text)))) == text


class Stamp(datetime):
    """A datetime with nanoseconds, as pandas has it."""

    nanosecond = 7

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stamp) and super().__eq__(other)

    def __hash__(self) -> int:
        return super().__hash__()


def test_c12_a_subclass_that_would_not_come_back_equal_is_refused() -> None:
    with pytest.raises(UnsupportedValue, match=r"'at'.*not equal"):
        encode("at", Stamp(2026, 1, 2))


class Namesake:
    """A UUID of another package, which is none of the standard library's."""


Namesake.__name__ = Namesake.__qualname__ = "UUID"


def test_c12_a_refusal_names_the_class_with_its_module() -> None:
    with pytest.raises(UnsupportedValue, match=r"tests\.test_codec\.UUID is neither"):
        encode("id", Namesake())


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "zone", [None, UTC, timezone(timedelta(hours=-3)), SECONDS, BERLIN, ZoneInfo("UTC")], ids=str
)
@pytest.mark.parametrize(
    "wall",
    [
        datetime(2026, 6, 1, 12),
        datetime(2026, 10, 25, 2, 30),  # comes twice in Berlin
        datetime(2026, 3, 29, 2, 30),  # never comes in Berlin
        datetime(1880, 1, 1),  # an offset with seconds in Berlin
    ],
    ids=str,
)
def test_c12_a_datetime_comes_back_equal_with_zone_and_fold(
    wall: datetime, zone: tzinfo | None, fold: int
) -> None:
    value = wall.replace(tzinfo=zone, fold=fold)
    restored = decode(encode("at", value))
    assert restored == value
    assert (restored.utcoffset(), restored.fold) == (value.utcoffset(), fold)
    assert restored.tzinfo == zone
    assert type(restored) is datetime


class Other(tzinfo):
    """A zone of a class that this library does not know."""

    def utcoffset(self, _at: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _at: datetime | None) -> None:
        return None

    def tzname(self, _at: datetime | None) -> str:
        return "OTHER"


def test_c12_of_another_zone_the_offset_is_kept() -> None:
    value = datetime(2026, 1, 2, 3, tzinfo=Other())
    restored = decode(encode("at", value))
    assert restored == value
    assert restored.tzinfo == timezone(timedelta(hours=1))


def test_c12_a_zone_without_a_name_leaves_its_offset() -> None:
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
def test_c12_a_zone_that_this_host_knows_otherwise_leaves_the_moment(zone: str) -> None:
    raw = f'{{"$datetime":"2026-01-02T03:00:00+01:00[{zone}]"}}'.encode()
    assert decode(raw) == datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=1)))


def test_c12_what_an_earlier_version_stored_is_read() -> None:
    raw = b'{"a":{"$datetime":"2026-01-02T03:04:05.000678+00:00"},"b":{"$datetime":"2026-01-02T03:04:05"}}'
    at = datetime(2026, 1, 2, 3, 4, 5)
    assert decode_all(raw) == {"a": at.replace(microsecond=678, tzinfo=UTC), "b": at}


@pytest.mark.parametrize(
    "garbage",
    ["2026-01-02T03:00[", "2026-01-02T03:00]", "2026-01-02T03:00[]", "[_fold=1]", "2026-01-02[_fold=2]"],
)
def test_c12_a_malformed_datetime_is_unreadable(garbage: str) -> None:
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
def test_c12_keys_become_the_strings_of_the_standard_json(value: dict[Any, Any]) -> None:
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


def test_c12_keys_by_example() -> None:
    value = {2: "a", -2.5: "b", True: "c", None: "d", Number.SEVEN: "e", Name.ALICE: "f", Text("g"): {8: []}}
    stored = decode(encode("key", value))
    assert stored == {"2": "a", "true": "c", "-2.5": "b", "null": "d", "7": "e", "alice": "f", "g": {"8": []}}
    assert {type(key) for key in stored} == {str}
    assert decode(encode("key", {Name.ALICE: 1, 10**30: 2})) == {"alice": 1, str(10**30): 2}


@pytest.mark.parametrize("value", [{1: "a", "1": "b"}, {None: 1, "null": 2}, {1.5: 1, "1.5": 2}], ids=str)
def test_c12_keys_that_would_become_one_are_refused(value: dict[Any, Any]) -> None:
    with pytest.raises(UnsupportedValue, match=r"'key'.*would both be stored as '(1|null|1\.5)'"):
        encode("key", [value])
