"""Regression tests of commits under concurrency, cancellation and faults.

A pausable store produces each interleaving: it stops at a call until the test resumes it.
"""

import asyncio
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from cartapp.session import Session, SessionEnded, SessionTooLarge, StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, Version, key_from_id
from tests.conftest import ManualClock
from tests.support.pausable_store import PausableStore, list_sessions
from tests.support.session_layer import SessionLayer, YieldingStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def other(store: PausableStore, clock: ManualClock) -> SessionLayer:
    """The layer of another process on the same store."""
    return SessionLayer(store, clock)


# -- records that another request loaded --------------------------------------------------------------------


def shop(session: Session) -> None:
    session["lines"] = [7]
    session["theme"] = "dark"


async def handed_on(
    layer: SessionLayer,
    other: SessionLayer,
    store: PausableStore,
    cookie: str,
    concurrently: Callable[[Session], None] = shop,
) -> tuple[Session, asyncio.Task[None]]:
    """Return a loaded session, and a task that completes another commit once the session's waits behind it.

    That commit was stored, but its response is late: another process wrote since; the session loaded that.
    """
    first, _ = await layer.load(cookie)
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
    elsewhere, _ = await other.load(cookie)
    concurrently(elsewhere)
    await elsewhere.save()
    behind, _ = await layer.load(cookie)

    async def release() -> None:
        let_go.set()
        await in_front

    return behind, asyncio.create_task(_when_waiting(layer, cookie, release))


async def _when_waiting(layer: SessionLayer, cookie: str, release: Callable[[], Any]) -> None:
    locks = layer.manager.locks._locks
    place = asyncio.get_running_loop(), key_from_id(cookie)
    while locks[place].waiters < 2:  # noqa: ASYNC110 - the manager has no event for it
        await asyncio.sleep(0)
    await release()


async def test_a_no_op_on_an_older_record_is_not_a_no_op(
    layer: SessionLayer, other: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(theme="light", lines=[])
    session, released = await handed_on(layer, other, store, cookie)
    session["theme"] = "light"  # a no-op on the other commit's record, a change on the loaded one
    await session.save()
    await released
    assert await layer.read(cookie) == {"theme": "light", "lines": [7], "first": 1}


async def test_an_error_on_an_older_record_is_not_raised(
    layer: SessionLayer, other: SessionLayer, store: PausableStore
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
async def test_a_loaded_tombstone_wins_over_an_older_record(
    layer: SessionLayer, other: SessionLayer, store: PausableStore, change: Callable[[Session], None]
) -> None:
    cookie = await layer.begin(theme="dark", lines=[])
    session, released = await handed_on(layer, other, store, cookie, Session.regenerate)
    change(session)
    with pytest.raises(SessionEnded):
        await session.save()
    await released


# -- tasks that share one session ---------------------------------------------------------------------------


async def add(session: Session, number: int) -> None:
    session.modify("count", lambda count: count + number, 0)
    await session.save()


async def test_concurrent_saves_of_two_tasks_commit_each_change_once(layer: SessionLayer) -> None:
    cookie = await layer.begin(count=0)
    session, _ = await layer.load(cookie)
    await asyncio.gather(add(session, 1), add(session, 10))
    assert session["count"] == 11
    assert await layer.read(cookie) == {"count": 11}


async def test_concurrent_saves_create_one_record(store: PausableStore, layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    await asyncio.gather(*(add(session, 10**power) for power in range(5)))
    assert len(await list_sessions(store)) == 1
    assert await layer.read(str(request_session.cookie())) == {"count": 11111}


async def test_changes_during_a_commit_belong_to_the_next_one(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(list=[])
    session, _ = await layer.load(cookie)
    held = session["list"]
    session["first"] = 1
    store.pause("save")
    saving = asyncio.create_task(session.save())
    await store.paused.wait()
    session["second"] = 2
    held.append(3)
    session.modify("count", lambda count: count + 1, 0)
    store.resumed.set()
    await saving
    assert session == {"list": [3], "first": 1, "second": 2, "count": 1}
    assert await layer.read(cookie) == {"list": [], "first": 1}
    await session.save()
    assert await layer.read(cookie) == {"list": [3], "first": 1, "second": 2, "count": 1}


async def test_a_list_can_be_changed_after_a_save(layer: SessionLayer, other: SessionLayer) -> None:
    cookie = await layer.begin(list=[1])
    session, _ = await layer.load(cookie)
    held = session["list"]
    held.append(2)
    await session.save()
    elsewhere, _ = await other.load(cookie)
    elsewhere["theme"] = "dark"
    await elsewhere.save()
    held.append(3)
    await session.save()
    assert session == {"list": [1, 2, 3], "theme": "dark"}
    assert await layer.read(cookie) == {"list": [1, 2, 3], "theme": "dark"}


async def test_all_changes_of_the_tasks_of_a_websocket_are_counted(clock: ManualClock) -> None:
    layer = SessionLayer(YieldingStore(clock=clock), clock)
    cookie = await layer.begin(read=0, tick=0)
    session, _ = await layer.load(cookie)

    async def many(key: str) -> None:
        for _ in range(50):
            session.modify(key, lambda number: number + 1)
            await session.save()

    await asyncio.gather(many("read"), many("tick"))
    assert await layer.read(cookie) == {"read": 50, "tick": 50}


async def test_each_task_gets_the_error_of_its_change(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
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
        await session.save()  # includes the other task's change
    store.failing = set()
    failed.set()
    with pytest.raises(StoreUnavailable):
        await saving_late
    await session.save()
    assert session == await layer.read(cookie) == {"a": 1}


# -- cancellation -------------------------------------------------------------------------------------------


async def test_a_cancelled_save_is_not_repeated(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(n=0)
    session, request_session = await layer.load(cookie)
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
    await request_session.finish(session, failed=False)
    assert await layer.read(cookie) == {"n": 1}


async def test_a_cancelled_creation_is_not_repeated(layer: SessionLayer, store: PausableStore) -> None:
    session, request_session = await layer.load()
    session["n"] = 1
    store.pause("create")
    saving = asyncio.create_task(session.save())
    await store.paused.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    store.resumed.set()
    await request_session.finish(session, failed=False)
    assert await list_sessions(store) == []
    assert request_session.cookie() is None


# -- reading never writes -----------------------------------------------------------------------------------


class Shop:
    tags: list[str] = []  # noqa: RUF012 - a default of the view; each session gets a copy


async def test_reading_a_default_of_the_typed_view_writes_nothing(
    layer: SessionLayer, store: PausableStore
) -> None:
    session, request_session = await layer.load()
    session._view = Shop
    assert len(session.data.tags) == 0
    await session.save()
    assert request_session.cookie() is None
    assert await list_sessions(store) == []


async def test_reading_a_default_keeps_a_concurrent_change(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    reading, _ = await layer.load(cookie)
    reading._view = Shop
    assert reading.data.tags == []
    writing, _ = await layer.load(cookie)
    writing._view = Shop
    writing.data.tags.append("new")
    writing.data.tags.append("newer")
    await writing.save()
    await reading.save()
    assert await layer.read(cookie) == {"a": 1, "tags": ["new", "newer"]}


async def test_setdefault_keeps_a_concurrent_change(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    reading, _ = await layer.load(cookie)
    assert reading.setdefault("tags", []) == []
    writing, _ = await layer.load(cookie)
    writing.setdefault("tags", []).append("new")
    await writing.save()
    await reading.save()
    assert await layer.read(cookie) == {"a": 1, "tags": ["new"]}
    assert reading["tags"] == ["new"]


# -- copies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda session: pickle.loads(pickle.dumps(session))]
)
async def test_a_copy_is_a_plain_dict_and_records_nothing(
    layer: SessionLayer, copied: Callable[[Session], dict[str, Any]]
) -> None:
    cookie = await layer.begin(list=[1], theme="light")
    session, _ = await layer.load(cookie)
    writing, _ = await layer.load(cookie)
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


async def test_a_unique_flash_is_queued_once(layer: SessionLayer) -> None:
    cookie = await layer.begin(n=1)
    visits = [(await layer.load(cookie))[0] for _ in range(2)]
    for session in visits:
        session.flash("page", ("Saved", 1), "success", unique=True)
    await asyncio.gather(*(session.save() for session in visits))
    session, _ = await layer.load(cookie)
    session.flash("page", "Saved", "info", unique=True)
    session.flash("page", "Saved", "info", unique=True)
    session.flash("page", "Saved", "info")
    session.flash("other", "Saved", "info", unique=True)
    await session.save()
    shown = [await session.take_flash("page") for _ in range(4)]
    assert shown == [["Saved", 1], "Saved", "Saved", None]
    assert await session.take_flash("other") == "Saved"


# -- other --------------------------------------------------------------------------------------------------


async def test_a_record_replaced_by_garbage_counts_as_ended(
    layer: SessionLayer, store: PausableStore
) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session["a"] = 2
    record = await store.load(key_from_id(cookie))
    assert record is not None
    await store.save(replace(record, data=b"garbage"), expected=record.version)
    with pytest.raises(SessionEnded):
        await session.save()


async def test_check_writable_writes(layer: SessionLayer, store: PausableStore) -> None:
    cookie = await layer.begin(a=1)
    for each in (None, cookie):
        store.failing = set()
        session, request_session = await layer.load(each)
        await session.check_writable()
        assert request_session.cookie() is None
        store.failing = {"create", "touch"}
        with pytest.raises(StoreUnavailable):
            await session.check_writable()
    assert len(await list_sessions(store)) == 1


async def test_a_failed_commit_keeps_the_changes_made_during_it(
    clock: ManualClock, store: PausableStore
) -> None:
    layer = SessionLayer(store, clock, SessionPolicy(max_bytes=100))
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session["big"] = "x" * 100
    with pytest.raises(SessionTooLarge):
        await session.save()
    session["b"] = 2
    await session.save()
    assert await layer.read(cookie) == {"a": 1, "b": 2}
