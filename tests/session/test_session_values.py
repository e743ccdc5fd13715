"""Values of a session in the same and in the next request, also through the typed view."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from cartapp.session import UnsupportedValue
from cartapp.session.typed import typed_view
from tests.session.test_codec import SUBCLASSES, Colour, Day, Identifier, Moment, Money, Name
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(("value", "base"), SUBCLASSES, ids=lambda value: type(value).__name__)
async def test_a_subclass_instance_is_equal_before_and_after_the_commit(
    layer: SessionLayer, value: Any, base: Any
) -> None:
    session, request_session = await layer.load()
    session["value"] = value
    assert session["value"] == base
    await session.save()
    assert session["value"] == base
    stored = await layer.read(str(request_session.cookie()))
    assert stored == {"value": base}
    assert type(stored["value"]) is type(base)


async def test_nested_keys_are_converted_to_strings_by_the_next_request(
    layer: SessionLayer,
) -> None:
    """As in Starlette's own session, which is encoded as JSON at the end of a request."""
    session, request_session = await layer.load()
    stock = {1: "a", "inner": {None: 2.5}}
    session["stock"] = stock
    stock[2] = "b"  # the session contains the caller's object
    assert session["stock"] == {1: "a", "inner": {None: 2.5}, 2: "b"}
    await session.save()
    session["stock"][3] = "c"
    await session.save()
    stored = {"1": "a", "inner": {"null": 2.5}, "2": "b", "3": "c"}
    assert await layer.read(str(request_session.cookie())) == {"stock": stored}


async def test_modify_receives_the_stored_keys(layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    session["stock"] = {1: "a"}
    assert session.modify("stock", lambda stored: {**stored, "2": "b"}) == {"1": "a", "2": "b"}
    await session.save()
    assert session == {"stock": {"1": "a", "2": "b"}}
    assert await layer.read(str(request_session.cookie())) == session


async def test_reading_a_value_set_in_this_request_records_nothing(layer: SessionLayer) -> None:
    session, _ = await layer.load()
    counts: defaultdict[int, int] = defaultdict(int)
    counts[7] += 1
    session["counts"] = counts
    before = len(session.recorded().operations)
    assert session["counts"][7] == 1
    assert len(session.recorded().operations) == before


async def test_the_same_key_as_number_and_as_text_raises(layer: SessionLayer) -> None:
    """Otherwise a handler that counts by numbers would silently lose all counts except the last."""

    def count(counts: dict[Any, int]) -> dict[Any, int]:
        return {**counts, 7: counts.get(7, 0) + 1}

    session, request_session = await layer.load()
    session.modify("counts", count, {})
    await session.save()
    cookie = str(request_session.cookie())
    session, _ = await layer.load(cookie)
    with pytest.raises(UnsupportedValue, match="would both be stored as '7'"):
        session.modify("counts", count, {})
    assert await layer.read(cookie) == {"counts": {"7": 1}}


async def test_a_changed_fold_or_zone_is_detected(layer: SessionLayer) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    cookie = await layer.begin(times=[first])
    session, _ = await layer.load(cookie)
    session["times"][0] = first.replace(fold=1)  # equal, and an hour later
    await session.save()
    times: Any = (await layer.read(cookie))["times"]
    (stored,) = times
    assert (stored, stored.fold, stored.tzinfo) == (first, 1, BERLIN)
    assert stored.utcoffset() != first.utcoffset()


class View:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date
    price: Decimal
    blob: bytes
    id: UUID
    times: list[datetime]
    stock: dict[int, str]
    names: dict[str, int]
    name: Name


VALUES: list[tuple[str, Any, Any]] = [
    ("at", Moment(2026, 1, 2, tzinfo=BERLIN), datetime(2026, 1, 2, tzinfo=BERLIN)),
    ("day", Day(2026, 1, 2), date(2026, 1, 2)),
    ("price", Money("1.50"), Decimal("1.50")),
    ("blob", b"\xff", b"\xff"),
    ("id", Identifier(int=7), UUID(int=7)),
    ("times", [Moment(2026, 1, 2)], [datetime(2026, 1, 2)]),
    ("names", {Name.ALICE: 1}, {"alice": 1}),
    ("name", Name.ALICE, "alice"),
]


@pytest.mark.parametrize(("name", "value", "base"), VALUES, ids=[name for name, _, _ in VALUES])
async def test_the_typed_view_accepts_subclass_instances(
    layer: SessionLayer, name: str, value: Any, base: Any
) -> None:
    session, request_session = await layer.load()
    setattr(typed_view(View, session), name, value)
    assert getattr(typed_view(View, session), name) == base
    await session.save()
    assert getattr(typed_view(View, session), name) == base
    session, _ = await layer.load(request_session.cookie())
    assert getattr(typed_view(View, session), name) == base


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at", date(2026, 1, 2)),
        ("day", 7),
        ("price", "1.50"),
        ("id", "0" * 32),
        ("times", [1]),
        ("stock", {1: "a"}),
    ],
)
async def test_the_typed_view_rejects_values_that_it_could_not_read(
    layer: SessionLayer, name: str, value: Any
) -> None:
    session, _ = await layer.load()
    with pytest.raises(TypeError, match=rf"View\.{name}: Expected"):
        setattr(typed_view(View, session), name, value)
    assert session == {}


async def test_the_typed_view_rejects_unsupported_values(layer: SessionLayer) -> None:
    session, _ = await layer.load()
    with pytest.raises(UnsupportedValue, match="'at'"):
        typed_view(View, session).at = Colour.RED  # type: ignore[assignment]
