"""C12: what a session shows of a value in its request and in the next, also through the typed view."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from cartapp.session import UnsupportedValue
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.typed import typed_view
from tests.conftest import ManualClock
from tests.layer import Layer

from .test_codec import SUBCLASSES, Colour, Day, Identifier, Moment, Money, Name

pytestmark = pytest.mark.anyio

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def layer(clock: ManualClock) -> Layer:
    return Layer(MemoryStore(clock=clock), clock)


@pytest.mark.parametrize(("value", "base"), SUBCLASSES, ids=lambda value: type(value).__name__)
async def test_c12_a_subclass_is_equal_before_and_after_the_commit(
    layer: Layer, value: Any, base: Any
) -> None:
    session, visit = await layer.visit()
    session["value"] = value
    assert session["value"] == base
    await session.save()
    assert session["value"] == base
    stored = await layer.read(str(visit.cookie()))
    assert stored == {"value": base}
    assert type(stored["value"]) is type(base)


async def test_c12_keys_are_shown_as_given_in_this_request_and_as_stored_in_the_next(layer: Layer) -> None:
    """As with Starlette's own session, which becomes JSON at the end of a request."""
    session, visit = await layer.visit()
    stock = {1: "a", "inner": {None: 2.5}}
    session["stock"] = stock
    stock[2] = "b"  # the session shows the caller's object, so that changes in it count
    assert session["stock"] == {1: "a", "inner": {None: 2.5}, 2: "b"}
    await session.save()
    session["stock"][3] = "c"
    await session.save()
    stored = {"1": "a", "inner": {"null": 2.5}, "2": "b", "3": "c"}
    assert await layer.read(str(visit.cookie())) == {"stock": stored}


async def test_c12_modify_is_given_the_stored_keys(layer: Layer) -> None:
    session, visit = await layer.visit()
    session["stock"] = {1: "a"}
    assert session.modify("stock", lambda stored: {**stored, "2": "b"}) == {"1": "a", "2": "b"}
    await session.save()
    assert session == {"stock": {"1": "a", "2": "b"}}
    assert await layer.read(str(visit.cookie())) == session


async def test_c12_reading_keys_that_were_set_in_this_request_records_nothing(layer: Layer) -> None:
    session, _ = await layer.visit()
    counts: defaultdict[int, int] = defaultdict(int)
    counts[7] += 1
    session["counts"] = counts
    before = len(session.recorded().operations)
    assert session["counts"][7] == 1
    assert len(session.recorded().operations) == before


async def test_c12_a_key_that_is_changed_as_a_number_and_as_text_is_refused(layer: Layer) -> None:
    """A handler that counts under numbers would lose each count but the last without a word."""

    def count(counts: dict[Any, int]) -> dict[Any, int]:
        return {**counts, 7: counts.get(7, 0) + 1}

    session, visit = await layer.visit()
    session.modify("counts", count, {})
    await session.save()
    cookie = str(visit.cookie())
    session, _ = await layer.visit(cookie)
    with pytest.raises(UnsupportedValue, match="would both be stored as '7'"):
        session.modify("counts", count, {})
    assert await layer.read(cookie) == {"counts": {"7": 1}}


async def test_c12_fold_and_zone_are_seen_as_a_change(layer: Layer) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    cookie = await layer.begin(times=[first])
    session, _ = await layer.visit(cookie)
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
async def test_c12_the_typed_view_takes_subclasses(layer: Layer, name: str, value: Any, base: Any) -> None:
    session, visit = await layer.visit()
    setattr(typed_view(View, session), name, value)
    assert getattr(typed_view(View, session), name) == base
    await session.save()
    assert getattr(typed_view(View, session), name) == base
    session, _ = await layer.visit(visit.cookie())
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
async def test_c12_the_typed_view_refuses_what_it_could_not_read_again(
    layer: Layer, name: str, value: Any
) -> None:
    session, _ = await layer.visit()
    with pytest.raises(TypeError, match=rf"View\.{name}: Expected"):
        setattr(typed_view(View, session), name, value)
    assert session == {}


async def test_c12_the_typed_view_refuses_what_no_session_holds(layer: Layer) -> None:
    session, _ = await layer.visit()
    with pytest.raises(UnsupportedValue, match="'at'"):
        typed_view(View, session).at = Colour.RED  # type: ignore[assignment]
