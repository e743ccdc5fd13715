"""The session core under concurrency, rotation, cancellation and faults; each test names its finding.

The interleavings that led here are made on purpose: a store that stops at a gate until the test opens it.
"""

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from cartapp.session import Session, SessionEnded, SessionTooLarge, StoreUnavailable
from cartapp.session.policy import Policy
from cartapp.session.record import Record, Version, key_of
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.gated import Gated, live
from tests.layer import Layer, Yielding

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> Gated:
    return Gated(MemoryStore(clock=clock))


@pytest.fixture
def layer(store: Gated, clock: ManualClock) -> Layer:
    return Layer(store, clock)


@pytest.fixture
def other(store: Gated, clock: ManualClock) -> Layer:
    """The layer of another process on the same store."""
    return Layer(store, clock)


# -- C1: conclusions from a record that another request read ------------------------------------------------


def shop(session: Session) -> None:
    session["lines"] = [7]
    session["theme"] = "dark"


async def handed_on(
    layer: Layer, other: Layer, store: Gated, cookie: str, meanwhile: Callable[[Session], None] = shop
) -> tuple[Session, asyncio.Task[None]]:
    """Return a loaded session, and a task that lets another commit end once the session's waits behind it.

    That commit was stored, but its answer is late: another process writes, and the session loads that.
    """
    first, _ = await layer.visit(cookie)
    first["first"] = 1
    saved = asyncio.Event()
    let_go = asyncio.Event()
    save = store.inner.save

    async def late(record: Record, *, expected: Version) -> Version | None:
        version = await save(record, expected=expected)
        store.save = store_save  # type: ignore[method-assign]
        saved.set()
        await let_go.wait()
        return version

    store_save = store.save
    store.save = late  # type: ignore[method-assign]
    in_front = asyncio.create_task(first.save())
    await saved.wait()
    elsewhere, _ = await other.visit(cookie)
    meanwhile(elsewhere)
    await elsewhere.save()
    behind, _ = await layer.visit(cookie)

    async def release() -> None:
        let_go.set()
        await in_front

    return behind, asyncio.create_task(_when_waiting(layer, cookie, release))


async def _when_waiting(layer: Layer, cookie: str, release: Callable[[], Any]) -> None:
    locks = layer.manager.locks._locks
    while locks[key_of(cookie)].waiters < 2:  # noqa: ASYNC110 - the manager has no event for it
        await asyncio.sleep(0)
    await release()


async def test_c1_a_change_is_no_no_op_because_a_neighbour_saw_an_older_state(
    layer: Layer, other: Layer, store: Gated
) -> None:
    cookie = await layer.begin(theme="light", lines=[])
    session, released = await handed_on(layer, other, store, cookie)
    session["theme"] = "light"  # nothing to do on what the neighbour wrote, a change on what was loaded
    await session.save()
    await released
    assert await layer.read(cookie) == {"theme": "light", "lines": [7], "first": 1}


async def test_c1_a_change_is_not_refused_because_a_neighbour_saw_an_older_state(
    layer: Layer, other: Layer, store: Gated
) -> None:
    def remove_seven(lines: list[int]) -> list[int]:
        if 7 not in lines:
            raise LookupError("not in cart")
        return [number for number in lines if number != 7]

    cookie = await layer.begin(theme="light", lines=[])
    session, released = await handed_on(layer, other, store, cookie)
    session.modify("lines", remove_seven)
    await session.save()
    await released
    assert await layer.read(cookie) == {"theme": "dark", "lines": [], "first": 1}


@pytest.mark.parametrize("change", [lambda s: s.set("theme", "light"), Session.regenerate])
async def test_c1_a_tombstone_is_not_overlooked_because_a_neighbour_saw_the_session(
    layer: Layer, other: Layer, store: Gated, change: Callable[[Session], None]
) -> None:
    cookie = await layer.begin(theme="dark", lines=[])
    session, released = await handed_on(layer, other, store, cookie, Session.regenerate)
    change(session)
    with pytest.raises(SessionEnded):
        await session.save()
    await released


# -- C2: tasks that share one session -----------------------------------------------------------------------


async def add(session: Session, number: int) -> None:
    session.modify("count", lambda count: count + number, 0)
    await session.save()


async def test_c2_two_tasks_of_one_request_lose_and_double_nothing(layer: Layer) -> None:
    cookie = await layer.begin(count=0)
    session, _ = await layer.visit(cookie)
    await asyncio.gather(add(session, 1), add(session, 10))
    assert session["count"] == 11
    assert await layer.read(cookie) == {"count": 11}


async def test_c2_a_new_visitor_gets_one_record(store: Gated, layer: Layer) -> None:
    session, visit = await layer.visit()
    await asyncio.gather(*(add(session, 10**power) for power in range(5)))
    assert len(await live(store)) == 1
    assert await layer.read(str(visit.cookie())) == {"count": 11111}


async def test_c2_what_is_set_while_a_commit_runs_is_committed_next(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(list=[])
    session, _ = await layer.visit(cookie)
    held = session["list"]
    session["first"] = 1
    store.pause("save")
    saving = asyncio.create_task(session.save())
    await store.waiting.wait()
    session["second"] = 2
    held.append(3)
    session.modify("count", lambda count: count + 1, 0)
    store.open.set()
    await saving
    assert session == {"list": [3], "first": 1, "second": 2, "count": 1}
    assert await layer.read(cookie) == {"list": [], "first": 1}
    await session.save()
    assert await layer.read(cookie) == {"list": [3], "first": 1, "second": 2, "count": 1}


async def test_c2_a_held_list_can_be_changed_after_a_save(layer: Layer, other: Layer) -> None:
    cookie = await layer.begin(list=[1])
    session, _ = await layer.visit(cookie)
    held = session["list"]
    held.append(2)
    await session.save()
    elsewhere, _ = await other.visit(cookie)
    elsewhere["theme"] = "dark"
    await elsewhere.save()
    held.append(3)
    await session.save()
    assert session == {"list": [1, 2, 3], "theme": "dark"}
    assert await layer.read(cookie) == {"list": [1, 2, 3], "theme": "dark"}


async def test_c2_readers_and_tickers_of_one_socket_are_all_counted(clock: ManualClock) -> None:
    layer = Layer(Yielding(clock=clock), clock)
    cookie = await layer.begin(read=0, tick=0)
    session, _ = await layer.visit(cookie)

    async def many(key: str) -> None:
        for _ in range(50):
            session.modify(key, lambda number: number + 1)
            await session.save()

    await asyncio.gather(many("read"), many("tick"))
    assert await layer.read(cookie) == {"read": 50, "tick": 50}


async def test_c2_each_task_learns_that_its_change_was_not_stored(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    recorded, failed = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        session["b"] = 2
        recorded.set()
        await failed.wait()
        await session.save()

    saving_late = asyncio.create_task(late())
    await recorded.wait()
    session["c"] = 3
    store.failing = {"save"}
    with pytest.raises(StoreUnavailable):
        await session.save()  # takes the other task's change along
    store.failing = set()
    failed.set()
    with pytest.raises(StoreUnavailable):
        await saving_late
    await session.save()
    assert session == await layer.read(cookie) == {"a": 1}


# -- C3: cancellation ---------------------------------------------------------------------------------------


async def test_c3_a_cancelled_save_is_not_repeated(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(n=0)
    session, visit = await layer.visit(cookie)
    session.modify("n", lambda n: n + 1)
    stored = asyncio.Event()
    save = store.save

    async def late(record: Record, *, expected: Version) -> Version | None:
        await save(record, expected=expected)
        stored.set()
        await asyncio.Event().wait()
        return None

    store.save = late  # type: ignore[method-assign]
    saving = asyncio.create_task(session.save())
    await stored.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    store.save = save  # type: ignore[method-assign]
    await visit.finish(session, failed=False)
    assert await layer.read(cookie) == {"n": 1}


async def test_c3_a_cancelled_creation_is_not_repeated(layer: Layer, store: Gated) -> None:
    session, visit = await layer.visit()
    session["n"] = 1
    store.pause("create")
    saving = asyncio.create_task(session.save())
    await store.waiting.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    store.open.set()
    await visit.finish(session, failed=False)
    assert await live(store) == []
    assert visit.cookie() is None


# -- C4: reading never writes -------------------------------------------------------------------------------


class Shop:
    tags: list[str] = []  # noqa: RUF012 - a default of the view, of which each session gets a copy


async def test_c4_reading_a_default_of_the_view_writes_nothing(layer: Layer, store: Gated) -> None:
    session, visit = await layer.visit()
    session._view = Shop
    assert len(session.data.tags) == 0
    await session.save()
    assert visit.cookie() is None
    assert await live(store) == []


async def test_c4_reading_a_default_erases_no_concurrent_change(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    reading, _ = await layer.visit(cookie)
    reading._view = Shop
    assert reading.data.tags == []
    writing, _ = await layer.visit(cookie)
    writing._view = Shop
    writing.data.tags.append("new")
    writing.data.tags.append("newer")
    await writing.save()
    await reading.save()
    assert await layer.read(cookie) == {"a": 1, "tags": ["new", "newer"]}


async def test_c4_setdefault_erases_no_concurrent_change(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    reading, _ = await layer.visit(cookie)
    assert reading.setdefault("tags", []) == []
    writing, _ = await layer.visit(cookie)
    writing.setdefault("tags", []).append("new")
    await writing.save()
    await reading.save()
    assert await layer.read(cookie) == {"a": 1, "tags": ["new"]}
    assert reading["tags"] == ["new"]


# -- C5: copies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))]
)
async def test_c5_a_copy_is_a_plain_dict_and_records_nothing(
    layer: Layer, copied: Callable[[Session], dict[str, Any]]
) -> None:
    cookie = await layer.begin(list=[1], theme="light")
    session, _ = await layer.visit(cookie)
    writing, _ = await layer.visit(cookie)
    plain = copied(session)
    assert type(plain) is dict
    assert plain == {"list": [1], "theme": "light"}
    writing["theme"] = "dark"
    await writing.save()
    await session.save()
    assert await layer.read(cookie) == {"list": [1], "theme": "dark"}
    deep = copy.deepcopy(session)
    deep["list"].append(2)
    assert session["list"] == [1]


async def test_c9_a_message_that_waits_is_not_queued_a_second_time(layer: Layer) -> None:
    cookie = await layer.begin(n=1)
    visits = [(await layer.visit(cookie))[0] for _ in range(2)]
    for session in visits:
        session.flash("page", ("Saved", 1), "success", unique=True)
    await asyncio.gather(*(session.save() for session in visits))
    session, _ = await layer.visit(cookie)
    session.flash("page", "Saved", "info", unique=True)
    session.flash("page", "Saved", "info", unique=True)
    session.flash("page", "Saved", "info")
    session.flash("other", "Saved", "info", unique=True)
    await session.save()
    shown = [await session.take_flash("page") for _ in range(4)]
    assert shown == [["Saved", 1], "Saved", "Saved", None]
    assert await session.take_flash("other") == "Saved"


# -- siblings -----------------------------------------------------------------------------------------------


async def test_garbage_written_meanwhile_is_an_ended_session(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    session["a"] = 2
    record = await store.load(key_of(cookie))
    assert record is not None
    await store.save(replace(record, data=b"garbage"), expected=record.version)
    with pytest.raises(SessionEnded):
        await session.save()


async def test_a_write_check_writes(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    for each in (None, cookie):
        store.failing = set()
        session, visit = await layer.visit(each)
        await session.check_writable()
        assert visit.cookie() is None
        store.failing = {"create", "touch"}
        with pytest.raises(StoreUnavailable):
            await session.check_writable()
    assert len(await live(store)) == 1


async def test_a_failed_commit_leaves_what_was_recorded_during_it(clock: ManualClock, store: Gated) -> None:
    layer = Layer(store, clock, Policy(max_bytes=100))
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    session["big"] = "x" * 100
    with pytest.raises(SessionTooLarge):
        await session.save()
    session["b"] = 2
    await session.save()
    assert await layer.read(cookie) == {"a": 1, "b": 2}
