"""Tasks that share one session: each gets the errors of its changes, and none is committed twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cartapp.session import Session, SessionEnded, StoreUnavailable, UnsupportedValue
from cartapp.session.record import Record, new_id
from cartapp.session.request_session import RequestSession
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.pausable_store import PausableStore, list_sessions
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


def one_more(number: int) -> int:
    return number + 1


async def outcome(saving: Awaitable[Any]) -> str:
    """Return the name of the raised error, or "saved"."""
    try:
        await saving
    except Exception as error:  # noqa: BLE001 - the caller compares its name
        return type(error).__name__
    return "saved"


async def changing(session: Session, key: str, save: Callable[[Session], Awaitable[None]]) -> str:
    """Increment a key, let the other tasks do the same, and save."""
    session.modify(key, one_more, 0)
    await asyncio.sleep(0)
    return await outcome(save(session))


SAVES = pytest.mark.parametrize(
    "save",
    [
        Session.save,
        lambda session: asyncio.wait_for(session.save(), 60),
        lambda session: asyncio.shield(session.save()),
        lambda session: asyncio.create_task(session.save()),
        lambda session: asyncio.gather(session.save()),
    ],
    ids=["save", "wait_for", "shield", "create_task", "gather"],
)


# -- errors -----------------------------------------------------------------------------------------------


@SAVES
async def test_a_failed_save_reaches_every_author(
    layer: SessionLayer, store: PausableStore, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, request_session = await layer.load(cookie)
    store.failing = {"save"}
    outcomes = await asyncio.gather(changing(session, "a", save), changing(session, "b", save))
    assert list(outcomes) == ["StoreUnavailable"] * 2
    store.failing = set()
    await request_session.finish(session, failed=False)  # both have got the error
    assert await layer.read(cookie) == {"a": 0, "b": 0}


@SAVES
async def test_a_task_gets_each_error_once(
    layer: SessionLayer, store: PausableStore, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(a=0)
    session, request_session = await layer.load(cookie)
    store.failing = {"save"}
    assert await changing(session, "a", save) == "StoreUnavailable"
    store.failing = set()
    assert await changing(session, "a", save) == "saved"
    await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 1}


@SAVES
async def test_a_task_gets_the_error_of_another_tasks_save_of_its_changes(
    layer: SessionLayer, store: PausableStore, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(n=0)
    session, request_session = await layer.load(cookie)
    store.failing = {"save"}

    async def ticker() -> str:
        return await outcome(save(session))

    outcomes = await asyncio.gather(changing(session, "n", save), ticker())
    assert list(outcomes) == ["StoreUnavailable"] * 2
    store.failing = set()
    await request_session.finish(session, failed=False)


async def test_a_timeout_reaches_every_author(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, request_session = await layer.load(cookie)
    store.pause("save")

    async def cancelled(session: Session) -> None:
        saving = asyncio.ensure_future(session.save())
        await store.paused.wait()
        saving.cancel()
        store.resumed.set()
        await asyncio.wait_for(saving, 60)

    async def later(session: Session) -> None:
        await store.paused.wait()
        await session.save()

    first = asyncio.create_task(changing(session, "a", cancelled))
    second = asyncio.create_task(changing(session, "b", later))
    assert await second == "StoreUnavailable"
    with pytest.raises(asyncio.CancelledError):
        await first
    await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0, "b": 0}


async def test_an_unreported_error_fails_the_response(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=0)
    session, request_session = await layer.load(cookie)

    async def relying_on_the_response() -> None:
        session["a"] = 1

    async def ignoring_errors() -> None:
        session["seen"] = 1
        assert await outcome(session.save()) == "StoreUnavailable"

    store.failing = {"save"}
    await asyncio.gather(relying_on_the_response(), ignoring_errors())
    store.failing = set()
    with pytest.raises(StoreUnavailable):
        await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0}


async def test_the_next_save_raises_the_error_of_a_finished_task(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(a=0)
    session, _ = await layer.load(cookie)
    await asyncio.create_task(changing(session, "a", lambda _: asyncio.sleep(0)))
    store.failing = {"save"}
    assert await outcome(asyncio.create_task(session.save())) == "StoreUnavailable"
    store.failing = set()
    assert await asyncio.create_task(outcome(session.save())) == "StoreUnavailable"
    assert await outcome(session.save()) == "saved"


async def test_destroy_is_committed_despite_earlier_errors(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=0)
    session, request_session = await layer.load(cookie)
    store.failing = {"save"}

    async def ticker() -> str:
        return await outcome(session.save())

    outcomes = await asyncio.gather(changing(session, "a", lambda _: asyncio.sleep(0)), ticker())
    assert list(outcomes) == ["saved", "StoreUnavailable"]
    store.failing = set()
    session.destroy()
    await request_session.finish(session, failed=False)
    assert request_session.cleared
    assert await list_sessions(store) == []


async def test_a_flash_is_not_returned_if_its_removal_fails(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(slow=0)
    session, _ = await layer.load(cookie)
    session.flash("note", "hello")
    await session.save()
    session["slow"] = 1
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.paused.wait()
    ticker = asyncio.create_task(outcome(session.save()))
    await asyncio.sleep(0)
    page = asyncio.create_task(session.take_flash("note"))
    await asyncio.sleep(0)
    store.resumed.set()
    await in_front
    store.failing = {"save"}
    assert await ticker == "StoreUnavailable"
    with pytest.raises(StoreUnavailable):
        await page
    store.failing = set()
    assert await (await layer.load(cookie))[0].take_flash("note") == "hello"


# -- what a failed save leaves ----------------------------------------------------------------------------


async def test_changes_before_a_failing_save_are_not_committed(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(x=0)
    session, request_session = await layer.load(cookie)
    failed = asyncio.Event()

    async def late() -> str:
        session["b"] = 1
        await failed.wait()
        session["c"] = 1
        return await outcome(session.save())

    async def concurrent() -> None:
        await failed.wait()
        session["d"] = 1  # by an unrelated task

    async def failing() -> str:
        session["a"] = 1
        outcomes = await outcome(session.save())
        store.failing = set()
        failed.set()
        return outcomes

    store.failing = {"save"}
    outcomes = await asyncio.gather(late(), failing(), concurrent())
    assert list(outcomes) == ["StoreUnavailable", "StoreUnavailable", None]
    await request_session.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"x": 0, "d": 1}


async def test_a_save_cancelled_while_waiting_is_not_committed_later(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(n=0, count=0)
    session, _ = await layer.load(cookie)
    session.modify("count", one_more)
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.paused.wait()

    async def concurrent() -> None:
        session.modify("count", one_more)

    await asyncio.create_task(concurrent())
    session.modify("n", one_more)
    waiting = session.save()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.01)
    assert session == {"n": 0, "count": 2}
    store.resumed.set()
    await in_front
    session.modify("n", one_more)
    await session.save()
    assert session == await layer.read(cookie) == {"n": 1, "count": 2}


@pytest.mark.parametrize("change", [Session.clear, Session.regenerate, Session.destroy])
async def test_session_wide_changes_fail_for_every_author(
    layer: SessionLayer, store: PausableStore, change: Callable[[Session], None]
) -> None:
    cookie = await layer.begin(n=0)
    session, request_session = await layer.load(cookie)
    session["n"] = 1
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.paused.wait()
    recorded, cancelled = asyncio.Event(), asyncio.Event()

    async def concurrent() -> str:
        session["concurrent"] = 1
        recorded.set()
        await cancelled.wait()
        return await outcome(session.save())

    outcomes = asyncio.create_task(concurrent())
    await recorded.wait()
    change(session)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.save(), 0.01)
    store.resumed.set()
    cancelled.set()
    await in_front
    assert await outcomes == "StoreUnavailable"
    await request_session.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1}


async def test_a_change_after_the_save_started_raises_no_error(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, request_session = await layer.load(cookie)
    session["a"] = 1
    store.pause("save")
    store.failing = {"save"}

    async def other() -> str:
        return await outcome(session.save())

    in_front = asyncio.create_task(other())  # includes this task's change
    await store.paused.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.save(), 0.01)  # so the task knows that the outcome is unknown
    store.resumed.set()
    assert await in_front == "StoreUnavailable"
    store.failing = set()
    session["b"] = 1
    await session.save()
    await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0, "b": 1}


# -- values that cannot be stored -------------------------------------------------------------------------


async def test_an_unsupported_value_in_a_list_drops_only_that_change(layer: SessionLayer) -> None:
    cookie = await layer.begin(n=0, list=[], other=0)
    session, request_session = await layer.load(cookie)

    async def wrong() -> str:
        session["list"].append({1})
        session["other"] = 1
        return await outcome(session.save())

    outcomes = await asyncio.gather(changing(session, "n", Session.save), wrong())
    assert list(outcomes) == ["saved", "UnsupportedValue"]
    await request_session.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1, "list": [], "other": 0}


async def test_a_successful_save_does_not_raise_another_tasks_error(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(n=0, list=[])
    session, request_session = await layer.load(cookie)
    appended = asyncio.Event()

    async def wrong() -> str:
        held = session["list"]
        await store.paused.wait()
        held.append({1})
        appended.set()
        await in_front
        return await outcome(session.save())

    store.pause("save")
    in_front = asyncio.create_task(changing(session, "n", Session.save))
    outcomes = asyncio.create_task(wrong())
    await appended.wait()
    store.resumed.set()
    assert await in_front == "saved"
    assert await outcomes == "UnsupportedValue"
    await request_session.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1, "list": []}


async def test_an_unsupported_value_does_not_hide_an_outage(
    layer: SessionLayer, store: PausableStore
) -> None:
    session, request_session = await layer.load(await layer.begin(n=0, list=[]))
    held = session["list"]
    session["n"] = 1
    store.pause("save")
    store.failing = {"save"}
    saving = asyncio.create_task(outcome(session.save()))
    await store.paused.wait()
    held.append({1})
    store.resumed.set()
    assert await saving == "StoreUnavailable"
    with pytest.raises(UnsupportedValue, match="'list'"):
        await session.save()
    store.failing = set()
    await request_session.finish(session, failed=False)


# -- loading ----------------------------------------------------------------------------------------------


class Uneven(MemoryStore):
    """A store with every second load slow."""

    loads = 0

    async def load(self, key: str) -> Record | None:
        self.loads += 1
        is_slow = self.loads % 2
        record = await super().load(key)
        for _ in range(5 * is_slow):
            await asyncio.sleep(0)
        return record


async def load_and_add(session: Session) -> None:
    await session.load()
    session.modify("n", one_more, 0)
    await asyncio.sleep(0)


async def test_concurrent_tasks_load_a_session_once(clock: ManualClock) -> None:
    store = Uneven(clock=clock)
    layer = SessionLayer(store, clock)
    cookie = await layer.begin(n=0)
    request_session = RequestSession(layer.manager, lambda: cookie)
    session = Session(request_session)
    store.loads = 0
    await asyncio.gather(*(load_and_add(session) for _ in range(3)))
    assert store.loads == 1
    await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"n": 3}


async def test_a_late_load_keeps_a_created_session(clock: ManualClock) -> None:
    layer = SessionLayer(Uneven(clock=clock), clock)
    unknown = new_id()
    request_session = RequestSession(layer.manager, lambda: unknown)
    session = Session(request_session)

    async def add_and_save() -> None:
        await load_and_add(session)
        await session.save()

    await asyncio.gather(add_and_save(), add_and_save())
    await request_session.finish(session, failed=False)
    assert await layer.read(str(request_session.cookie())) == {"n": 2}


async def test_a_load_retries_after_a_concurrent_one_failed(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(n=0)
    session = Session(RequestSession(layer.manager, lambda: cookie))
    store.pause("load")
    first = asyncio.create_task(outcome(session.load()))
    await store.paused.wait()
    second, third = (asyncio.create_task(outcome(session.load())) for _ in range(2))
    await asyncio.sleep(0)
    third.cancel()
    store.failing = {"load"}
    store.resumed.set()
    assert await first == "StoreUnavailable"
    store.failing = set()
    assert await second == "saved"
    assert session == {"n": 0}


async def test_the_error_of_a_save_after_destroy_states_that_the_session_ended(
    layer: SessionLayer, store: PausableStore
) -> None:
    for failing, value in (({"create"}, "x"), (set[str](), "x" * 70_000)):
        session, request_session = await layer.load(await layer.begin(a=1))
        session.destroy()
        session["b"] = value
        store.failing = failing
        with pytest.raises(
            Exception, match=r"session was ended, but the values set afterwards were not saved\. "
        ):
            await session.save()
        store.failing = set()
        assert (request_session.cleared, request_session.cookie(), session) == (True, None, {})
    assert await list_sessions(store) == []


async def test_every_author_gets_a_definite_error_unchanged(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=0)
    session, _ = await layer.load(cookie)
    ending, _ = await layer.load(cookie)
    ending.destroy()
    await ending.save()
    outcomes = await asyncio.gather(
        changing(session, "a", Session.save), changing(session, "b", Session.save)
    )
    assert list(outcomes) == [SessionEnded.__name__] * 2
