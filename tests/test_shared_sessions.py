"""Tasks that share one session: each learns whether its changes were stored, and nothing is done twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cartapp.session import Session, SessionEnded, StoreUnavailable, UnsupportedValue
from cartapp.session.manager import Visit
from cartapp.session.record import Record, new_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.gated import Gated, live
from tests.layer import Layer

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> Gated:
    return Gated(MemoryStore(clock=clock))


@pytest.fixture
def layer(store: Gated, clock: ManualClock) -> Layer:
    return Layer(store, clock)


def one_more(number: int) -> int:
    return number + 1


async def outcome(saving: Awaitable[Any]) -> str:
    """The name of the error that it raises, or "saved"."""
    try:
        await saving
    except Exception as error:  # noqa: BLE001 - the test says which one it expects
        return type(error).__name__
    return "saved"


async def changing(session: Session, key: str, save: Callable[[Session], Awaitable[None]]) -> str:
    """Add one to a key, let the other tasks do the same, and save."""
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
    layer: Layer, store: Gated, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, visit = await layer.visit(cookie)
    store.failing = {"save"}
    told = await asyncio.gather(changing(session, "a", save), changing(session, "b", save))
    assert list(told) == ["StoreUnavailable"] * 2
    store.failing = set()
    await visit.finish(session, failed=False)  # both have learnt it
    assert await layer.read(cookie) == {"a": 0, "b": 0}


@SAVES
async def test_a_task_that_has_learnt_of_an_error_learns_of_it_once(
    layer: Layer, store: Gated, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(a=0)
    session, visit = await layer.visit(cookie)
    store.failing = {"save"}
    assert await changing(session, "a", save) == "StoreUnavailable"
    store.failing = set()
    assert await changing(session, "a", save) == "saved"
    await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 1}


@SAVES
async def test_a_task_learns_that_a_task_without_changes_failed_to_save_its_own(
    layer: Layer, store: Gated, save: Callable[[Session], Awaitable[None]]
) -> None:
    cookie = await layer.begin(n=0)
    session, visit = await layer.visit(cookie)
    store.failing = {"save"}

    async def ticker() -> str:
        return await outcome(save(session))

    told = await asyncio.gather(changing(session, "n", save), ticker())
    assert list(told) == ["StoreUnavailable"] * 2
    store.failing = set()
    await visit.finish(session, failed=False)


async def test_a_save_that_times_out_reaches_every_author(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, visit = await layer.visit(cookie)
    store.pause("save")

    async def cancelled(session: Session) -> None:
        saving = asyncio.ensure_future(session.save())
        await store.waiting.wait()
        saving.cancel()
        store.open.set()
        await asyncio.wait_for(saving, 60)

    async def later(session: Session) -> None:
        await store.waiting.wait()
        await session.save()

    first = asyncio.create_task(changing(session, "a", cancelled))
    second = asyncio.create_task(changing(session, "b", later))
    assert await second == "StoreUnavailable"
    with pytest.raises(asyncio.CancelledError):
        await first
    await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0, "b": 0}


async def test_the_response_fails_when_no_save_has_reported_an_error(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=0)
    session, visit = await layer.visit(cookie)

    async def relying_on_the_response() -> None:
        session["a"] = 1

    async def ignoring_errors() -> None:
        session["seen"] = 1
        assert await outcome(session.save()) == "StoreUnavailable"

    store.failing = {"save"}
    await asyncio.gather(relying_on_the_response(), ignoring_errors())
    store.failing = set()
    with pytest.raises(StoreUnavailable):
        await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0}


async def test_what_an_ended_task_lost_is_told_to_the_next_save(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=0)
    session, _ = await layer.visit(cookie)
    await asyncio.create_task(changing(session, "a", lambda _: asyncio.sleep(0)))
    store.failing = {"save"}
    assert await outcome(asyncio.create_task(session.save())) == "StoreUnavailable"
    store.failing = set()
    assert await asyncio.create_task(outcome(session.save())) == "StoreUnavailable"
    assert await outcome(session.save()) == "saved"


async def test_a_log_out_is_committed_whatever_was_lost_before(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=0)
    session, visit = await layer.visit(cookie)
    store.failing = {"save"}

    async def ticker() -> str:
        return await outcome(session.save())

    told = await asyncio.gather(changing(session, "a", lambda _: asyncio.sleep(0)), ticker())
    assert list(told) == ["saved", "StoreUnavailable"]
    store.failing = set()
    session.destroy()
    await visit.finish(session, failed=False)
    assert visit.cleared
    assert await live(store) == []


async def test_a_flash_is_not_shown_when_its_removal_failed(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(slow=0)
    session, _ = await layer.visit(cookie)
    session.flash("note", "hello")
    await session.save()
    session["slow"] = 1
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.waiting.wait()
    ticker = asyncio.create_task(outcome(session.save()))
    await asyncio.sleep(0)
    page = asyncio.create_task(session.take_flash("note"))
    await asyncio.sleep(0)
    store.open.set()
    await in_front
    store.failing = {"save"}
    assert await ticker == "StoreUnavailable"
    with pytest.raises(StoreUnavailable):
        await page
    store.failing = set()
    assert await (await layer.visit(cookie))[0].take_flash("note") == "hello"


# -- what a failed save leaves ----------------------------------------------------------------------------


async def test_what_is_set_before_a_save_that_tells_of_an_error_is_not_committed(
    layer: Layer, store: Gated
) -> None:
    cookie = await layer.begin(x=0)
    session, visit = await layer.visit(cookie)
    failed = asyncio.Event()

    async def late() -> str:
        session["b"] = 1
        await failed.wait()
        session["c"] = 1
        return await outcome(session.save())

    async def beside() -> None:
        await failed.wait()
        session["d"] = 1  # of a task of its own, which has nothing to do with the error

    async def failing() -> str:
        session["a"] = 1
        told = await outcome(session.save())
        store.failing = set()
        failed.set()
        return told

    store.failing = {"save"}
    told = await asyncio.gather(late(), failing(), beside())
    assert list(told) == ["StoreUnavailable", "StoreUnavailable", None]
    await visit.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"x": 0, "d": 1}


async def test_a_save_that_is_cancelled_while_it_waits_is_not_committed_later(
    layer: Layer, store: Gated
) -> None:
    cookie = await layer.begin(n=0, count=0)
    session, _ = await layer.visit(cookie)
    session.modify("count", one_more)
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.waiting.wait()

    async def beside() -> None:
        session.modify("count", one_more)

    await asyncio.create_task(beside())
    session.modify("n", one_more)
    waiting = session.save()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiting, 0.01)
    assert session == {"n": 0, "count": 2}
    store.open.set()
    await in_front
    session.modify("n", one_more)
    await session.save()
    assert session == await layer.read(cookie) == {"n": 1, "count": 2}


@pytest.mark.parametrize("change", [Session.clear, Session.regenerate, Session.destroy])
async def test_what_cannot_be_taken_back_apart_is_told_to_every_author(
    layer: Layer, store: Gated, change: Callable[[Session], None]
) -> None:
    cookie = await layer.begin(n=0)
    session, visit = await layer.visit(cookie)
    session["n"] = 1
    store.pause("save")
    in_front = asyncio.create_task(session.save())
    await store.waiting.wait()
    recorded, cancelled = asyncio.Event(), asyncio.Event()

    async def beside() -> str:
        session["beside"] = 1
        recorded.set()
        await cancelled.wait()
        return await outcome(session.save())

    told = asyncio.create_task(beside())
    await recorded.wait()
    change(session)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.save(), 0.01)
    store.open.set()
    cancelled.set()
    await in_front
    assert await told == "StoreUnavailable"
    await visit.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1}


async def test_a_change_that_was_not_waited_for_is_no_false_alarm(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=0, b=0)
    session, visit = await layer.visit(cookie)
    session["a"] = 1
    store.pause("save")
    store.failing = {"save"}

    async def other() -> str:
        return await outcome(session.save())

    in_front = asyncio.create_task(other())  # takes this task's change along
    await store.waiting.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(session.save(), 0.01)  # so this task knows that the outcome is not known
    store.open.set()
    assert await in_front == "StoreUnavailable"
    store.failing = set()
    session["b"] = 1
    await session.save()
    await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"a": 0, "b": 1}


# -- values that cannot be stored -------------------------------------------------------------------------


async def test_an_unsupported_value_in_a_list_drops_only_that_tasks_change(layer: Layer) -> None:
    cookie = await layer.begin(n=0, list=[], other=0)
    session, visit = await layer.visit(cookie)

    async def wrong() -> str:
        session["list"].append({1})
        session["other"] = 1
        return await outcome(session.save())

    told = await asyncio.gather(changing(session, "n", Session.save), wrong())
    assert list(told) == ["saved", "UnsupportedValue"]
    await visit.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1, "list": [], "other": 0}


async def test_a_save_that_stored_does_not_fail_for_another_tasks_value(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(n=0, list=[])
    session, visit = await layer.visit(cookie)
    appended = asyncio.Event()

    async def wrong() -> str:
        held = session["list"]
        await store.waiting.wait()
        held.append({1})
        appended.set()
        await in_front
        return await outcome(session.save())

    store.pause("save")
    in_front = asyncio.create_task(changing(session, "n", Session.save))
    told = asyncio.create_task(wrong())
    await appended.wait()
    store.open.set()
    assert await in_front == "saved"
    assert await told == "UnsupportedValue"
    await visit.finish(session, failed=False)
    assert session == await layer.read(cookie) == {"n": 1, "list": []}


async def test_an_unsupported_value_does_not_hide_an_outage(layer: Layer, store: Gated) -> None:
    session, visit = await layer.visit(await layer.begin(n=0, list=[]))
    held = session["list"]
    session["n"] = 1
    store.pause("save")
    store.failing = {"save"}
    saving = asyncio.create_task(outcome(session.save()))
    await store.waiting.wait()
    held.append({1})
    store.open.set()
    assert await saving == "StoreUnavailable"
    with pytest.raises(UnsupportedValue, match="'list'"):
        await session.save()
    store.failing = set()
    await visit.finish(session, failed=False)


# -- loading ----------------------------------------------------------------------------------------------


class Uneven(MemoryStore):
    """A store of whose loads every second one is slow."""

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


async def test_tasks_that_load_one_session_load_it_once(clock: ManualClock) -> None:
    store = Uneven(clock=clock)
    layer = Layer(store, clock)
    cookie = await layer.begin(n=0)
    visit = Visit(layer.manager, lambda: cookie)
    session = Session(visit)
    store.loads = 0
    await asyncio.gather(*(load_and_add(session) for _ in range(3)))
    assert store.loads == 1
    await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"n": 3}


async def test_a_late_load_does_not_forget_a_session_that_was_created(clock: ManualClock) -> None:
    layer = Layer(Uneven(clock=clock), clock)
    unknown = new_id()
    visit = Visit(layer.manager, lambda: unknown)
    session = Session(visit)

    async def add_and_save() -> None:
        await load_and_add(session)
        await session.save()

    await asyncio.gather(add_and_save(), add_and_save())
    await visit.finish(session, failed=False)
    assert await layer.read(str(visit.cookie())) == {"n": 2}


async def test_a_load_that_waits_for_one_that_fails_tries_itself(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(n=0)
    session = Session(Visit(layer.manager, lambda: cookie))
    store.pause("load")
    first = asyncio.create_task(outcome(session.load()))
    await store.waiting.wait()
    second, third = (asyncio.create_task(outcome(session.load())) for _ in range(2))
    await asyncio.sleep(0)
    third.cancel()
    store.failing = {"load"}
    store.open.set()
    assert await first == "StoreUnavailable"
    store.failing = set()
    assert await second == "saved"
    assert session == {"n": 0}


async def test_a_destroyed_session_says_so_when_the_next_one_is_not_saved(layer: Layer, store: Gated) -> None:
    for failing, value in (({"create"}, "x"), (set[str](), "x" * 70_000)):
        session, visit = await layer.visit(await layer.begin(a=1))
        session.destroy()
        session["b"] = value
        store.failing = failing
        with pytest.raises(
            Exception, match=r"session was ended, but what was set afterwards was not saved\. "
        ):
            await session.save()
        store.failing = set()
        assert (visit.cleared, visit.cookie(), session) == (True, None, {})
    assert await live(store) == []


async def test_a_definite_error_reaches_every_author_as_it_is(layer: Layer) -> None:
    cookie = await layer.begin(a=0)
    session, _ = await layer.visit(cookie)
    ending, _ = await layer.visit(cookie)
    ending.destroy()
    await ending.save()
    told = await asyncio.gather(changing(session, "a", Session.save), changing(session, "b", Session.save))
    assert list(told) == [SessionEnded.__name__] * 2
