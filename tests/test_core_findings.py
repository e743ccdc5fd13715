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

from cartapp.session import Session, SessionEnded, Sessions, SessionTooLarge, StoreUnavailable
from cartapp.session.policy import PROVISIONAL_LIFETIME, TOMBSTONE_LIFETIME, Policy
from cartapp.session.record import Record, Seen, Version, key_of
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer, Yielding

pytestmark = pytest.mark.anyio


class Gated(MemoryStore):
    """A store that stops before or after an operation, and fails on demand."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()
        self.failing: set[str] = set()
        self.losing_answers: set[str] = set()
        self.pausing: set[str] = set()

    async def _pass(self, name: str) -> None:
        if name in self.pausing:
            self.waiting.set()
            await self.open.wait()
        await asyncio.sleep(0)
        if name in self.failing:
            raise StoreUnavailable("The store is down for this test.")

    def _answer(self, name: str) -> None:
        if name in self.losing_answers:
            raise StoreUnavailable("The answer was lost for this test.")

    async def load(self, key: str) -> Record | None:
        await self._pass("load")
        return await super().load(key)

    async def create(self, record: Record) -> Version | None:
        await self._pass("create")
        return await super().create(record)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await self._pass("save")
        saved = await super().save(record, expected=expected)
        self._answer("save")
        return saved

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        await self._pass("touch")
        return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        await self._pass("delete")
        return await super().delete(key, expected=expected)


@pytest.fixture
def store(clock: ManualClock) -> Gated:
    return Gated(clock=clock)


@pytest.fixture
def layer(store: Gated, clock: ManualClock) -> Layer:
    return Layer(store, clock)


@pytest.fixture
def other(store: Gated, clock: ManualClock) -> Layer:
    """The layer of another process on the same store."""
    return Layer(store, clock)


def live(store: MemoryStore) -> list[Record]:
    records = store._records.values()
    return [record for record in records if not record.is_tombstone and record.expires > store._clock()]


# -- C1: conclusions from a record that another request read ------------------------------------------------


async def handed_on(
    layer: Layer, other: Layer, store: Gated, cookie: str
) -> tuple[Session, asyncio.Task[None]]:
    """Return a loaded session, and a task that lets another commit end once the session's waits behind it.

    That commit was stored, but its answer is late: another process writes, and the session loads that.
    """
    first, _ = await layer.visit(cookie)
    first["first"] = 1
    saved = asyncio.Event()
    let_go = asyncio.Event()
    save = MemoryStore.save

    async def late(record: Record, *, expected: Version) -> Version | None:
        version = await save(store, record, expected=expected)
        store.save = store_save  # type: ignore[method-assign]
        saved.set()
        await let_go.wait()
        return version

    store_save = store.save
    store.save = late  # type: ignore[method-assign]
    in_front = asyncio.create_task(first.save())
    await saved.wait()
    elsewhere, _ = await other.visit(cookie)
    elsewhere["lines"] = [7]
    elsewhere["theme"] = "dark"
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
    assert len(live(store)) == 1
    assert await layer.read(str(visit.cookie())) == {"count": 11111}


async def test_c2_what_is_set_while_a_commit_runs_is_committed_next(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(list=[])
    session, _ = await layer.visit(cookie)
    held = session["list"]
    session["first"] = 1
    store.pausing, store.open = {"save"}, asyncio.Event()
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
    store.pausing, store.open = {"create"}, asyncio.Event()
    saving = asyncio.create_task(session.save())
    await store.waiting.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    store.open.set()
    await visit.finish(session, failed=False)
    assert live(store) == []
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
    assert live(store) == []


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


# -- C6: ending races a rotation ----------------------------------------------------------------------------

Rotate = Callable[[Session], None]
rotations = pytest.mark.parametrize("rotate", [Session.regenerate, lambda session: session.log_in("7")])


@rotations
async def test_c6_ending_follows_a_rotation(layer: Layer, store: Gated, rotate: Rotate) -> None:
    cookie = await layer.begin(a=1)
    sessions = Sessions(store, clock=layer.clock)
    store.pausing, store.open = {"delete"}, asyncio.Event()
    end = asyncio.create_task(sessions.end(key_of(cookie)))
    await store.waiting.wait()
    session, visit = await layer.visit(cookie)
    rotate(session)
    await session.save()
    store.open.set()
    assert await end
    assert live(store) == []
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
    assert live(store) == []


async def test_c6_ending_all_of_a_user_spares_another_ones_successor(layer: Layer, store: Gated) -> None:
    session, visit = await layer.visit()
    session.log_in("7")
    await session.save()
    store.pausing, store.open = {"delete"}, asyncio.Event()
    end = asyncio.create_task(Sessions(store, clock=layer.clock).end_user("7"))
    await store.waiting.wait()
    other, _ = await layer.visit(visit.cookie())
    other.clear()
    other.log_in("8")
    await other.save()
    store.open.set()
    assert await end == 0
    assert [record.user_id for record in live(store)] == ["8"]


async def test_c6_ending_everything_follows_rotations(layer: Layer, store: Gated) -> None:
    cookie = await layer.begin(a=1)
    store.pausing, store.open = {"delete"}, asyncio.Event()
    end = asyncio.create_task(Sessions(store, clock=layer.clock).clear())
    await store.waiting.wait()
    session, _ = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    store.open.set()
    assert await end == 1
    assert live(store) == []


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
    assert len(live(store)) == 1


async def test_c9_a_log_in_of_another_user_takes_over_nothing(layer: Layer, store: Gated) -> None:
    cookie, lost = await logged_in(layer, cart=[1])
    again, visit = await layer.visit(cookie)
    again.log_in("8", 1)
    await again.save()
    assert await layer.read(str(visit.cookie())) == {}
    assert await layer.read(lost) == {"cart": [1]}


async def test_c9_a_log_in_takes_over_nothing_that_is_no_longer_current(
    store: Gated, clock: ManualClock
) -> None:
    good = {1}

    async def is_current(_user: str, epoch: int) -> bool:
        return epoch in good

    layer = Layer(store, clock, Policy(is_current=is_current))
    cookie, _ = await logged_in(layer, cart=[1])
    good.clear()
    again, visit = await layer.visit(cookie)
    again.log_in("7", 2)
    await again.save()
    good.add(2)
    assert await layer.read(str(visit.cookie())) == {}


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
    assert live(store) == []
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
    assert live(store) == []
    assert not visit.cleared


async def test_c9_an_old_cookie_names_the_user_of_the_successor_and_lets_nobody_in(layer: Layer) -> None:
    cookie, now = await logged_in(layer, cart=[1])
    late, _ = await layer.visit(cookie)
    assert (late.user_id, await late.successor_user()) == (None, "7")
    current, _ = await layer.visit(now)
    assert (current.user_id, await current.successor_user()) == ("7", None)


async def test_c9_a_log_in_goes_on_with_a_session_whose_former_log_in_ended_meanwhile(
    clock: ManualClock, store: Gated
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

    layer = Layer(store, clock, Policy(is_current=is_current))
    _, cookie = await logged_in(layer, cart=[1])
    session, visit = await layer.visit(cookie)
    session.log_in("7", 3)
    await session.save()
    assert session == {"cart": [1]}
    assert await layer.read(str(visit.cookie())) == {"cart": [1]}
    assert len(live(store)) == 1


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
    assert [record.key for record in live(store)] == [key_of(cookie)]


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
    assert len(live(store)) == 1


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
