"""Ending a session, log-in and log-out against rotations, on every backend that keeps sessions on a server.

Each test names its finding. Another request gets in between where a store stops at a gate.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cartapp.session import Session, SessionEnded, Sessions, StoreUnavailable
from cartapp.session.policy import PROVISIONAL_LIFETIME, TOMBSTONE_LIFETIME, Policy
from cartapp.session.record import key_of
from tests.conftest import ManualClock
from tests.gated import Gated, live
from tests.layer import Layer
from tests.stores import STORES, Open

pytestmark = [pytest.mark.anyio, pytest.mark.promise(2)]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def store(place: Open) -> AsyncIterator[Gated]:
    opened = Gated(place())
    yield opened
    await opened.close()


@pytest.fixture
def layer(store: Gated, clock: ManualClock) -> Layer:
    return Layer(store, clock, Policy(timeout=20))


# -- C6: ending races a rotation ----------------------------------------------------------------------------

Rotate = Callable[[Session], None]
rotations = pytest.mark.parametrize("rotate", [Session.regenerate, lambda session: session.log_in("7")])


@rotations
async def test_c6_ending_follows_a_rotation(layer: Layer, store: Gated, rotate: Rotate) -> None:
    cookie = await layer.begin(a=1)
    sessions = Sessions(store, clock=layer.clock)
    store.pause("delete")
    end = asyncio.create_task(sessions.end(key_of(cookie)))
    await store.waiting.wait()
    session, visit = await layer.visit(cookie)
    rotate(session)
    await session.save()
    store.open.set()
    assert await end
    assert await live(store) == []
    assert await layer.read(str(visit.cookie())) == {}
    late, late_visit = await layer.visit(cookie)
    late["b"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    assert late_visit.cookie() is None


async def test_c6_ending_a_rotated_handle_ends_the_session(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    for _ in range(3):
        session, visit = await layer.visit(cookie)
        session.regenerate()
        await session.save()
        first, cookie = cookie, str(visit.cookie())
    assert await Sessions(store, clock=layer.clock).end(key_of(first))
    assert await live(store) == []


async def test_c6_ending_all_of_a_user_spares_another_ones_successor(layer: Layer, store: Gated) -> None:
    session, visit = await layer.visit()
    session.log_in("7")
    await session.save()
    store.pause("delete")
    end = asyncio.create_task(Sessions(store, clock=layer.clock).end_user("7"))
    await store.waiting.wait()
    other, _ = await layer.visit(visit.cookie())
    other.clear()
    other.log_in("8")
    await other.save()
    store.open.set()
    assert await end == 0
    assert [record.user_id for record in await live(store)] == ["8"]


async def test_c6_ending_everything_follows_rotations(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    store.pause("delete")
    end = asyncio.create_task(Sessions(store, clock=layer.clock).clear())
    await store.waiting.wait()
    session, _ = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    store.open.set()
    assert await end == 1
    assert await live(store) == []


# -- C9: tombstones -----------------------------------------------------------------------------------------


async def logged_in(layer: Layer, **data: Any) -> tuple[str, str]:
    """The cookies before and after a log-in with data: the response with the second one is lost."""
    cookie = await layer.begin(**data)
    session, visit = await layer.visit(cookie)
    session.log_in("7", 1)
    await session.save()
    return cookie, str(visit.cookie())


async def test_c9_a_repeated_log_in_takes_over_the_data_and_ends_the_successor(
    layer: Layer, store: Gated
) -> None:
    cookie, lost = await logged_in(layer, cart=[1])
    again, visit = await layer.visit(cookie)
    assert again == {}
    assert again.user_id is None
    again.log_in("7", 2)
    again["browser"] = "x"
    await again.save()
    assert again == {"cart": [1], "browser": "x"}
    assert await layer.read(str(visit.cookie())) == {"cart": [1], "browser": "x"}
    assert await layer.read(lost) == {}
    assert len(await live(store)) == 1


async def test_c9_a_log_in_of_another_user_takes_over_nothing(layer: Layer, store: Gated) -> None:
    cookie, lost = await logged_in(layer, cart=[1])
    again, visit = await layer.visit(cookie)
    again.log_in("8", 1)
    await again.save()
    assert await layer.read(str(visit.cookie())) == {}
    assert await layer.read(lost) == {"cart": [1]}


async def test_c9_a_log_in_takes_over_no_successor_that_is_a_guests_by_then(
    layer: Layer, store: Gated
) -> None:
    cookie, current = await logged_in(layer, cart=[1])
    again, visit = await layer.visit(cookie)
    again.log_in("7", 2)
    store.pause("save")
    taking_over = asyncio.create_task(again.save())
    await store.waiting.wait()
    store.pausing = set()
    clearing, _ = await layer.visit(current)
    clearing.clear()
    await clearing.save()
    store.open.set()
    await taking_over
    assert await layer.read(str(visit.cookie())) == {}
    guest, _ = await layer.visit(current)
    guest["b"] = 1
    await guest.save()  # the guest's session goes on
    assert await layer.read(current) == {"b": 1}


async def test_c9_a_log_in_takes_over_nothing_that_is_no_longer_current(
    store: Gated, clock: ManualClock
) -> None:
    good = {1}

    async def is_current(_user: str, epoch: int) -> bool:
        return epoch in good

    layer = Layer(store, clock, Policy(timeout=20, is_current=is_current))
    cookie, _ = await logged_in(layer, cart=[1])
    good.clear()
    again, visit = await layer.visit(cookie)
    again.log_in("7", 2)
    await again.save()
    good.add(2)
    assert await layer.read(str(visit.cookie())) == {}


async def test_a_session_that_was_rotated_before_its_log_in_ended_is_a_tombstone(
    store: Gated, clock: ManualClock
) -> None:
    good = {1}
    asked, answer = asyncio.Event(), asyncio.Event()

    async def is_current(_user: str, epoch: int) -> bool:
        asked.set()
        await answer.wait()
        return epoch in good

    layer = Layer(store, clock, Policy(timeout=20, is_current=is_current))
    session, visit = await layer.visit()
    session.log_in("7", 1)
    session["cart"] = [1]
    await session.save()
    cookie = str(visit.cookie())
    late = asyncio.create_task(layer.visit(cookie))  # reads the record, and asks about its user
    await asked.wait()
    again = Layer(store, clock, Policy(timeout=20))
    session, visit = await again.visit(cookie)
    session.log_in("7", 2)
    await session.save()
    good.clear()
    answer.set()
    session, late_visit = await late
    assert session == {}
    session["late"] = 1
    with pytest.raises(SessionEnded):
        await session.save()
    assert late_visit.cookie() is None
    assert await again.read(str(visit.cookie())) == {"cart": [1]}


async def test_c9_a_log_in_succeeds_on_a_session_that_was_ended_meanwhile(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(cart=[1])
    logging_in, visit = await layer.visit(cookie)
    ending, _ = await layer.visit(cookie)
    ending.destroy()
    await ending.save()
    logging_in.log_in("7", 1)
    logging_in["browser"] = "x"
    await logging_in.save()
    assert await layer.read(str(visit.cookie())) == {"browser": "x"}  # what was ended stays dead


async def test_c9_a_log_in_goes_on_with_a_session_whose_former_log_in_ended_meanwhile(
    store: Gated, clock: ManualClock
) -> None:
    """The record that was read is outdated: the request that ended its log-in had rotated it before."""
    asked: list[int] = []

    async def is_current(user_id: str, epoch: int) -> bool:
        asked.append(epoch)
        if asked != [1]:
            return True
        first, _ = await layer.visit(cookie)
        first.log_in("7", 2)
        await first.save()
        return False

    layer = Layer(store, clock, Policy(timeout=20, is_current=is_current))
    _, cookie = await logged_in(layer, cart=[1])
    session, visit = await layer.visit(cookie)
    session.log_in("7", 3)
    await session.save()
    assert session == {"cart": [1]}
    assert await layer.read(str(visit.cookie())) == {"cart": [1]}
    assert len(await live(store)) == 1


async def test_c9_destroy_succeeds_on_a_tombstone_and_ends_a_successor_of_the_same_user(
    layer: Layer, store: Gated
) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    late, visit = await layer.visit(cookie)
    late.destroy()
    await late.save()
    assert (visit.cookie(), visit.cleared) == (None, False)
    assert await live(store) == []
    late, visit = await layer.visit(cookie)
    late.destroy()
    late.flash("message", "Logged out")
    await late.save()
    assert await layer.read(str(visit.cookie())) != {}


async def test_c9_destroy_on_a_tombstone_undoes_no_log_in(layer: Layer) -> None:
    cookie, logged_in_cookie = await logged_in(layer, cart=[1])
    late, visit = await layer.visit(cookie)
    late.destroy()
    await late.save()
    assert (visit.cookie(), visit.cleared) == (None, False)
    assert await layer.read(logged_in_cookie) == {"cart": [1]}
    late, visit = await layer.visit(cookie)
    late.destroy()
    late["new"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    assert visit.cookie() is None


async def test_c9_a_log_out_that_races_a_rotation_wins(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    leaving, visit = await layer.visit(cookie)
    leaving.destroy()
    rotating, _ = await layer.visit(cookie)
    rotating.regenerate()
    await rotating.save()
    await leaving.save()
    assert await live(store) == []
    assert not visit.cleared


async def test_c9_an_old_cookie_names_the_user_of_the_successor_and_lets_nobody_in(layer: Layer) -> None:
    cookie, now = await logged_in(layer, cart=[1])
    late, _ = await layer.visit(cookie)
    assert (late.user_id, await late.successor_user()) == (None, "7")
    current, _ = await layer.visit(now)
    assert (current.user_id, await current.successor_user()) == ("7", None)


# -- C10: faults in a rotation ------------------------------------------------------------------------------


@rotations
async def test_c10_a_failed_rotation_leaves_no_orphan(
    layer: Layer, store: Gated, clock: ManualClock, rotate: Rotate
) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    rotate(session)
    store.failing = {"save"}
    with pytest.raises(StoreUnavailable):
        await session.save()
    store.failing = set()
    assert visit.cookie() is None
    clock.advance(PROVISIONAL_LIFETIME / 1000)
    assert [record.key for record in await live(store)] == [key_of(cookie)]


async def test_c10_a_rotation_whose_answer_was_lost_is_noticed(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    session.regenerate()
    store.losing_answers = {"save"}
    await session.save()
    assert await layer.read(str(visit.cookie())) == {"a": 1}


async def test_c10_a_rotated_session_lives_as_long_as_any(
    layer: Layer, store: Gated, clock: ManualClock
) -> None:
    cookie = await layer.begin(a=1)
    for outage in (False, True):
        session, visit = await layer.visit(cookie)
        session.regenerate()
        store.failing = {"touch"} if outage else set()
        await session.save()
        store.failing = set()
        cookie = str(visit.cookie())
        if outage:  # the next request stores what the outage did not let through
            clock.advance(PROVISIONAL_LIFETIME / 2000)
            session, visit = await layer.visit(cookie)
            await visit.finish(session, failed=False)
        clock.advance(Policy().ttl - TOMBSTONE_LIFETIME / 1000)
        assert await layer.read(cookie) == {"a": 1}
