"""End, log-in and log-out concurrent with rotations, on every server-side backend.

A pausable store lets another request run between two store calls.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cartapp.session import Session, SessionEnded, Sessions, StoreUnavailable
from cartapp.session.policy import PROVISIONAL_LIFETIME, TOMBSTONE_LIFETIME, SessionPolicy
from cartapp.session.record import key_from_id
from tests.conftest import ManualClock
from tests.support.pausable_store import PausableStore, list_sessions
from tests.support.session_layer import SessionLayer
from tests.support.stores import STORES, Open

pytestmark = [pytest.mark.anyio, pytest.mark.promise(2)]


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def store(place: Open) -> AsyncIterator[PausableStore]:
    opened = PausableStore(place())
    yield opened
    await opened.close()


@pytest.fixture
def layer(store: PausableStore, clock: ManualClock) -> SessionLayer:
    return SessionLayer(store, clock, SessionPolicy(timeout=20))


# -- ending during a rotation -------------------------------------------------------------------------------

Rotate = Callable[[Session], None]
rotations = pytest.mark.parametrize("rotate", [Session.regenerate, lambda session: session.log_in("7")])


@rotations
async def test_end_follows_a_rotation(layer: SessionLayer, store: PausableStore, rotate: Rotate) -> None:
    cookie = await layer.begin(a=1)
    sessions = Sessions(store, clock=layer.clock)
    store.pause("delete")
    end = asyncio.create_task(sessions.end(key_from_id(cookie)))
    await store.paused.wait()
    session, request_session = await layer.load(cookie)
    rotate(session)
    await session.save()
    store.resumed.set()
    assert await end
    assert await list_sessions(store) == []
    assert await layer.read(str(request_session.cookie())) == {}
    late, late_visit = await layer.load(cookie)
    late["b"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    assert late_visit.cookie() is None


async def test_end_with_a_former_handle_ends_the_session(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=1)
    for _ in range(3):
        session, request_session = await layer.load(cookie)
        session.regenerate()
        await session.save()
        first, cookie = cookie, str(request_session.cookie())
    assert await Sessions(store, clock=layer.clock).end(key_from_id(first))
    assert await list_sessions(store) == []


async def test_end_user_spares_the_successor_of_another_user(
    layer: SessionLayer, store: PausableStore
) -> None:
    session, request_session = await layer.load()
    session.log_in("7")
    await session.save()
    store.pause("delete")
    end = asyncio.create_task(Sessions(store, clock=layer.clock).end_user("7"))
    await store.paused.wait()
    other, _ = await layer.load(request_session.cookie())
    other.clear()
    other.log_in("8")
    await other.save()
    store.resumed.set()
    assert await end == 0
    assert [record.user_id for record in await list_sessions(store)] == ["8"]


async def test_clear_follows_rotations(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=1)
    store.pause("delete")
    end = asyncio.create_task(Sessions(store, clock=layer.clock).clear())
    await store.paused.wait()
    session, _ = await layer.load(cookie)
    session.regenerate()
    await session.save()
    store.resumed.set()
    assert await end == 1
    assert await list_sessions(store) == []


# -- tombstones ---------------------------------------------------------------------------------------------


async def logged_in(layer: SessionLayer, **data: Any) -> tuple[str, str]:
    """Return the cookies before and after a log-in with data, for a lost response with the second one."""
    cookie = await layer.begin(**data)
    session, request_session = await layer.load(cookie)
    session.log_in("7", 1)
    await session.save()
    return cookie, str(request_session.cookie())


async def test_a_repeated_log_in_takes_over_the_data_and_ends_the_successor(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie, lost = await logged_in(layer, cart=[1])
    again, request_session = await layer.load(cookie)
    assert again == {}
    assert again.user_id is None
    again.log_in("7", 2)
    again["browser"] = "x"
    await again.save()
    assert again == {"cart": [1], "browser": "x"}
    assert await layer.read(str(request_session.cookie())) == {"cart": [1], "browser": "x"}
    assert await layer.read(lost) == {}
    assert len(await list_sessions(store)) == 1


async def test_a_log_in_of_another_user_takes_over_no_data(layer: SessionLayer, store: PausableStore) -> None:
    cookie, lost = await logged_in(layer, cart=[1])
    again, request_session = await layer.load(cookie)
    again.log_in("8", 1)
    await again.save()
    assert await layer.read(str(request_session.cookie())) == {}
    assert await layer.read(lost) == {"cart": [1]}


async def test_a_log_in_takes_over_no_data_of_a_guest_successor(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie, current = await logged_in(layer, cart=[1])
    again, request_session = await layer.load(cookie)
    again.log_in("7", 2)
    store.pause("save")
    taking_over = asyncio.create_task(again.save())
    await store.paused.wait()
    store.pausing = set()
    clearing, _ = await layer.load(current)
    clearing.clear()
    await clearing.save()
    store.resumed.set()
    await taking_over
    assert await layer.read(str(request_session.cookie())) == {}
    guest, _ = await layer.load(current)
    guest["b"] = 1
    await guest.save()  # the guest's session remains
    assert await layer.read(current) == {"b": 1}


async def test_a_log_in_takes_over_no_data_of_an_outdated_epoch(
    store: PausableStore, clock: ManualClock
) -> None:
    good = {1}

    async def is_current(_user: str, epoch: int) -> bool:
        return epoch in good

    layer = SessionLayer(store, clock, SessionPolicy(timeout=20, is_current=is_current))
    cookie, _ = await logged_in(layer, cart=[1])
    good.clear()
    again, request_session = await layer.load(cookie)
    again.log_in("7", 2)
    await again.save()
    good.add(2)
    assert await layer.read(str(request_session.cookie())) == {}


async def test_a_session_rotated_before_its_epoch_was_raised_is_a_tombstone(
    store: PausableStore, clock: ManualClock
) -> None:
    good = {1}
    asked, response = asyncio.Event(), asyncio.Event()

    async def is_current(_user: str, epoch: int) -> bool:
        asked.set()
        await response.wait()
        return epoch in good

    layer = SessionLayer(store, clock, SessionPolicy(timeout=20, is_current=is_current))
    session, request_session = await layer.load()
    session.log_in("7", 1)
    session["cart"] = [1]
    await session.save()
    cookie = str(request_session.cookie())
    late = asyncio.create_task(layer.load(cookie))  # loads the record, and checks its user
    await asked.wait()
    again = SessionLayer(store, clock, SessionPolicy(timeout=20))
    session, request_session = await again.load(cookie)
    session.log_in("7", 2)
    await session.save()
    good.clear()
    response.set()
    session, late_visit = await late
    assert session == {}
    session["late"] = 1
    with pytest.raises(SessionEnded):
        await session.save()
    assert late_visit.cookie() is None
    assert await again.read(str(request_session.cookie())) == {"cart": [1]}


async def test_a_log_in_succeeds_on_an_ended_session(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(cart=[1])
    logging_in, request_session = await layer.load(cookie)
    ending, _ = await layer.load(cookie)
    ending.destroy()
    await ending.save()
    logging_in.log_in("7", 1)
    logging_in["browser"] = "x"
    await logging_in.save()
    assert await layer.read(str(request_session.cookie())) == {
        "browser": "x"
    }  # the ended session is not revived


async def test_a_log_in_continues_a_session_that_was_logged_out_concurrently(
    store: PausableStore, clock: ManualClock
) -> None:
    """The loaded record is outdated: the request that raised the epoch had rotated it before."""
    asked: list[int] = []

    async def is_current(user_id: str, epoch: int) -> bool:
        asked.append(epoch)
        if asked != [1]:
            return True
        first, _ = await layer.load(cookie)
        first.log_in("7", 2)
        await first.save()
        return False

    layer = SessionLayer(store, clock, SessionPolicy(timeout=20, is_current=is_current))
    _, cookie = await logged_in(layer, cart=[1])
    session, request_session = await layer.load(cookie)
    session.log_in("7", 3)
    await session.save()
    assert session == {"cart": [1]}
    assert await layer.read(str(request_session.cookie())) == {"cart": [1]}
    assert len(await list_sessions(store)) == 1


async def test_destroy_on_a_tombstone_ends_the_successor_of_the_same_user(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session.regenerate()
    await session.save()
    late, request_session = await layer.load(cookie)
    late.destroy()
    await late.save()
    assert (request_session.cookie(), request_session.cleared) == (None, False)
    assert await list_sessions(store) == []
    late, request_session = await layer.load(cookie)
    late.destroy()
    late.flash("message", "Logged out")
    await late.save()
    assert await layer.read(str(request_session.cookie())) != {}


async def test_destroy_on_a_tombstone_keeps_a_log_in(layer: SessionLayer) -> None:
    cookie, logged_in_cookie = await logged_in(layer, cart=[1])
    late, request_session = await layer.load(cookie)
    late.destroy()
    await late.save()
    assert (request_session.cookie(), request_session.cleared) == (None, False)
    assert await layer.read(logged_in_cookie) == {"cart": [1]}
    late, request_session = await layer.load(cookie)
    late.destroy()
    late["new"] = 1
    with pytest.raises(SessionEnded):
        await late.save()
    assert request_session.cookie() is None


async def test_destroy_wins_over_a_concurrent_rotation(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=1)
    leaving, request_session = await layer.load(cookie)
    leaving.destroy()
    rotating, _ = await layer.load(cookie)
    rotating.regenerate()
    await rotating.save()
    await leaving.save()
    assert await list_sessions(store) == []
    assert not request_session.cleared


async def test_a_former_cookie_identifies_the_successors_user_without_access(
    layer: SessionLayer,
) -> None:
    cookie, now = await logged_in(layer, cart=[1])
    late, _ = await layer.load(cookie)
    assert (late.user_id, await late.successor_user()) == (None, "7")
    current, _ = await layer.load(now)
    assert (current.user_id, await current.successor_user()) == ("7", None)


# -- faults in a rotation -----------------------------------------------------------------------------------


@rotations
async def test_a_failed_rotation_leaves_no_orphan(
    layer: SessionLayer, store: PausableStore, clock: ManualClock, rotate: Rotate
) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    rotate(session)
    store.failing = {"save"}
    with pytest.raises(StoreUnavailable):
        await session.save()
    store.failing = set()
    assert request_session.cookie() is None
    clock.advance(PROVISIONAL_LIFETIME / 1000)
    assert [record.key for record in await list_sessions(store)] == [key_from_id(cookie)]


async def test_a_rotation_is_detected_after_a_lost_response(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    session.regenerate()
    store.losing_responses = {"save"}
    await session.save()
    assert await layer.read(str(request_session.cookie())) == {"a": 1}


async def test_a_rotated_session_has_the_full_lifetime(
    layer: SessionLayer, store: PausableStore, clock: ManualClock
) -> None:
    cookie = await layer.begin(a=1)
    for outage in (False, True):
        session, request_session = await layer.load(cookie)
        session.regenerate()
        store.failing = {"touch"} if outage else set()
        await session.save()
        store.failing = set()
        cookie = str(request_session.cookie())
        if outage:  # the next request extends the lifetime after the outage
            clock.advance(PROVISIONAL_LIFETIME / 2000)
            session, request_session = await layer.load(cookie)
            await request_session.finish(session, failed=False)
        clock.advance(SessionPolicy().ttl - TOMBSTONE_LIFETIME / 1000)
        assert await layer.read(cookie) == {"a": 1}
