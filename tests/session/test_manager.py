"""Loading and committing: conflicts, rotation, ends, users and limits."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from cartapp.session import (
    SessionBusy,
    SessionEnded,
    SessionTooLarge,
    StoreUnavailable,
)
from cartapp.session.policy import TOMBSTONE_LIFETIME, SessionPolicy
from cartapp.session.record import Record, Version, key_from_id, new_id
from cartapp.session.session import Session
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer, YieldingStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[MemoryStore, YieldingStore])
def layer(clock: ManualClock, request: pytest.FixtureRequest) -> SessionLayer:
    return SessionLayer(request.param(clock=clock), clock)


def increment(value: int) -> int:
    return value + 1


# -- no lost update ---------------------------------------------------------------------------------------


async def test_every_save_shows_its_own_commit(layer: SessionLayer) -> None:
    cookie = await layer.begin(visits=0)

    async def count_visit() -> int:
        session, _ = await layer.load(cookie)
        session.modify("visits", increment)
        await session.save()
        visits: int = session["visits"]
        return visits

    responses = await asyncio.gather(*(count_visit() for _ in range(200)))
    assert sorted(responses) == list(range(1, 201))


async def test_concurrent_changes_of_two_processes_are_all_kept(layer: SessionLayer) -> None:
    """Two layers on one store share no lock; only compare-and-set protects them."""
    other = SessionLayer(layer.store, layer.clock)
    cookie = await layer.begin(visits=0)
    loaded = [await each.load(cookie) for each in (layer, other) * 50]
    for session, _ in loaded:
        session.modify("visits", increment)
    await asyncio.gather(*(session.save() for session, _ in loaded))
    assert await layer.read(cookie) == {"visits": 100}


async def test_changes_of_different_keys_do_not_interfere(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1, b=1)
    first, _ = await layer.load(cookie)
    second, _ = await layer.load(cookie)
    first["a"] = 2
    second["b"] = 2
    await first.save()
    await second.save()
    assert await layer.read(cookie) == {"a": 2, "b": 2}
    assert layer.counts["overwritten"] == 0


async def test_the_last_set_wins_and_is_counted(
    layer: SessionLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cookie = await layer.begin(theme="light")
    first, _ = await layer.load(cookie)
    second, _ = await layer.load(cookie)
    first["theme"], second["theme"] = "dark", "auto"
    await first.save()
    await second.save()
    assert await layer.read(cookie) == {"theme": "auto"}
    assert layer.counts["overwritten"] == 1
    assert "concurrent requests set 'theme'" in caplog.text


async def test_an_overwritten_key_counts_once_despite_retries(
    clock: ManualClock,
) -> None:
    class Busy(MemoryStore):
        """A store with three conflicting writes of another request."""

        faster = 0

        async def save(self, record: Record, *, expected: Version) -> Version | None:
            if self.faster:
                self.faster -= 1
                number = self.faster
                self.faster = 0
                other, _ = await elsewhere.load(cookie)
                other.update(theme="theirs", number=number)
                await other.save()
                self.faster = number
            return await super().save(record, expected=expected)

    store = Busy(clock=clock)
    layer, elsewhere = SessionLayer(store, clock), SessionLayer(store, clock)
    cookie = await layer.begin(theme="light")
    session, _ = await layer.load(cookie)
    session["theme"] = "dark"
    store.faster = 3
    await session.save()
    assert layer.counts == {"conflicts": 3, "overwritten": 1}


async def test_a_failing_function_changes_nothing_on_the_newest_value(layer: SessionLayer) -> None:
    def once(value: int) -> int:
        if value:
            raise ValueError("full")
        return value + 1

    cookie = await layer.begin(lines=0)
    first, _ = await layer.load(cookie)
    second, _ = await layer.load(cookie)
    first.modify("lines", once)
    second.modify("lines", once)
    second["also"] = 1
    await first.save()
    with pytest.raises(ValueError, match="full"):
        await second.save()
    await second.save()  # the failed changes were dropped, not retried
    assert await layer.read(cookie) == {"lines": 1}


async def test_exactly_one_request_gets_a_flash(layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    session.flash("message", "one")
    session.flash("message", "two")
    await session.save()
    loaded = [(await layer.load(request_session.cookie()))[0] for _ in range(10)]
    taken = await asyncio.gather(*(each.take_flash("message") for each in loaded))
    assert sorted(filter(None, taken)) == ["one", "two"]


class Contended(MemoryStore):
    """A store with a conflicting write before every save."""

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return None


async def test_endless_contention_raises_session_busy(clock: ManualClock) -> None:
    layer = SessionLayer(Contended(clock=clock), clock, SessionPolicy(timeout=0.05))
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session["a"] = 2
    with pytest.raises(SessionBusy):
        await session.save()


# -- no resurrection --------------------------------------------------------------------------------------

Change = Callable[[Session], None]


@pytest.mark.parametrize("change", [Session.destroy, Session.regenerate, lambda s: s.log_in("7")])
@pytest.mark.parametrize(
    "late", [lambda s: s.set("b", 2), lambda s: s.modify("a", increment), Session.regenerate]
)
async def test_a_late_write_never_revives_a_session(
    layer: SessionLayer, change: Change, late: Change
) -> None:
    cookie = await layer.begin(a=1)
    slow, slow_visit = await layer.load(cookie)
    late(slow)
    fast, _ = await layer.load(cookie)
    change(fast)
    await fast.save()
    with pytest.raises(SessionEnded):
        await slow.save()
    assert slow_visit.cookie() is None
    assert not slow_visit.cleared
    assert await layer.read(cookie) == {}


async def test_a_destroyed_id_counts_as_a_new_client(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    session.destroy()
    await session.save()
    assert request_session.cleared
    assert request_session.cookie() is None
    again, later = await layer.load(cookie)
    assert again.is_new
    again["b"] = 1
    await again.save()
    assert later.cookie() not in (None, cookie)
    assert await layer.read(cookie) == {}


async def test_a_tombstone_reads_as_empty_and_rejects_writes(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    session.regenerate()
    await session.save()
    rotated = request_session.cookie()
    assert rotated not in (None, cookie)
    assert await layer.read(str(rotated)) == {"a": 1}
    writes: list[Change] = [lambda s: s.set("x", 1), lambda s: s.update(x=1), Session.regenerate]
    for write in writes:
        late, late_visit = await layer.load(cookie)
        assert late == {}
        assert not late.is_new
        write(late)
        with pytest.raises(SessionEnded):
            await late.save()
        assert late_visit.cookie() is None
        assert not late_visit.cleared
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    later, _ = await layer.load(cookie)
    assert later.is_new


async def test_keep_alive_does_not_extend_a_tombstone(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(600)
    slow, _ = await layer.load(cookie)
    fast, _ = await layer.load(cookie)
    fast.regenerate()
    await fast.save()
    await slow.save()  # only a keep-alive
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    assert await layer.store.load(key_from_id(cookie)) is None


async def test_ten_concurrent_rotations_leave_one_session(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    loaded = [await layer.load(cookie) for _ in range(10)]
    for session, _ in loaded:
        session.regenerate()
    outcomes = await asyncio.gather(*(session.save() for session, _ in loaded), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SessionEnded) for outcome in outcomes) == 9
    assert isinstance(layer.store, MemoryStore)
    assert [summary.size async for summary in layer.store.scan()] == [len(b'{"a":1}')]


async def test_destroy_wins_over_a_concurrent_use(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    leaving, request_session = await layer.load(cookie)
    leaving.destroy()
    writer, _ = await layer.load(cookie)
    writer["a"] = 2
    await writer.save()
    await leaving.save()
    assert request_session.cleared
    assert await layer.read(cookie) == {}


async def test_values_set_after_destroy_start_a_new_session(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    session.destroy()
    session.flash("message", "Logged out")
    await session.save()
    fresh = request_session.cookie()
    assert fresh not in (None, cookie)
    assert list(await layer.read(str(fresh))) == ["_flash"]
    assert await layer.read(cookie) == {}


async def test_an_unknown_id_is_never_adopted(layer: SessionLayer) -> None:
    planted = new_id()
    session, request_session = await layer.load(planted)
    session["a"] = 1
    await session.save()
    assert request_session.cookie() not in (None, planted)
    assert await layer.read(planted) == {}


async def test_an_existing_key_is_never_taken_over(layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    handle = session.id
    taken = Record(handle, layer.clock(), layer.clock(), layer.clock() + 10_000, b'{"theirs":1}')
    await layer.store.create(taken)
    session["mine"] = 1
    await session.save()
    assert session.id != handle
    assert await layer.read(str(request_session.cookie())) == {"mine": 1}
    stored = await layer.store.load(handle)
    assert stored is not None
    assert stored.data == b'{"theirs":1}'


async def test_a_write_queued_behind_a_rotation_does_not_reach_the_new_id(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    renewing, request_session = await layer.load(cookie)
    writing, late = await layer.load(cookie)
    renewing.regenerate()
    writing["b"] = 2
    outcomes = await asyncio.gather(renewing.save(), writing.save(), return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], SessionEnded)
    assert late.cookie() is None
    assert await layer.read(str(request_session.cookie())) == {"a": 1}


# -- users ------------------------------------------------------------------------------------------------


async def test_log_in_keeps_the_data_under_a_new_id_and_lifetime(
    layer: SessionLayer, clock: ManualClock
) -> None:
    cookie = await layer.begin(cart=[1])
    clock.advance(100)
    session, request_session = await layer.load(cookie)
    session.log_in("7", epoch=3)
    assert session.user_id == "7"
    await session.save()
    record = await layer.store.load(session.id)
    assert record is not None
    assert (record.user_id, record.epoch, record.created) == ("7", 3, clock())
    assert await layer.read(str(request_session.cookie())) == {"cart": [1]}


async def test_clear_removes_the_user(layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    session.log_in("7")
    await session.save()
    session.clear()
    assert session.user_id is None
    await session.save()
    again, _ = await layer.load(request_session.cookie())
    assert again.user_id is None
    assert not again.is_new


async def test_a_user_that_is_not_current_is_logged_out_at_the_next_request(clock: ManualClock) -> None:
    epochs = {"7": 1}
    asked: list[tuple[str, int]] = []

    async def is_current(user: str, epoch: int) -> bool:
        asked.append((user, epoch))
        return epochs.get(user) == epoch

    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(is_current=is_current))
    guest = await layer.begin(a=1)
    session, request_session = await layer.load(guest)
    assert asked == []
    session.log_in("7", epoch=1)
    await session.save()
    cookie = request_session.cookie()
    assert (await layer.load(cookie))[0].user_id == "7"
    epochs["7"] = 2
    ended, late = await layer.load(cookie)
    assert ended.is_new
    assert ended == {}
    assert late.cookie() is None
    epochs["7"] = 1  # the record was deleted, not only hidden
    assert (await layer.load(cookie))[0].is_new


async def test_a_synchronous_is_current_raises_one_clear_sentence(clock: ManualClock) -> None:
    def is_current(user: str, epoch: int) -> bool:
        return True

    checked: Any = is_current
    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(is_current=checked))
    session, request_session = await layer.load()
    session.log_in("7", epoch=1)
    await session.save()
    expected = (
        r"^SessionPolicy\.is_current: expected an async function \(user_id, epoch\), got .* returned True\.$"
    )
    with pytest.raises(TypeError, match=expected):
        await layer.load(request_session.cookie())


# -- economy and bounds -----------------------------------------------------------------------------------


async def test_requests_that_store_nothing_leave_no_record(layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    session["a"] = 1
    del session["a"]
    session.clear()
    session.regenerate()
    session.destroy()
    await session.save()
    assert request_session.cookie() is None
    assert isinstance(layer.store, MemoryStore)
    assert [summary async for summary in layer.store.scan()] == []


async def test_setting_the_same_value_writes_nothing(layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    assert session.record is not None
    before = session.record.version
    session["a"] = 1
    await session.save()
    assert session.record.version == before


async def test_too_large_names_the_keys_and_changes_nothing(clock: ManualClock) -> None:
    layer = SessionLayer(MemoryStore(clock=clock), clock, SessionPolicy(max_bytes=100))
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session["big"] = "x" * 100
    with pytest.raises(SessionTooLarge, match=r"limit is 100.*big, a"):
        await session.save()
    assert await layer.read(cookie) == {"a": 1}


async def test_a_session_larger_than_a_lowered_limit_can_shrink(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    cookie = await SessionLayer(store, clock).begin(a="x" * 90, b="x" * 90)
    layer = SessionLayer(store, clock, SessionPolicy(max_bytes=80))
    session, request_session = await layer.load(cookie)
    session.log_in("7")
    await session.save()
    session.delete("a")
    await session.save()
    session["c"] = 1
    with pytest.raises(SessionTooLarge):
        await session.save()
    assert list(await layer.read(str(request_session.cookie()))) == ["b"]


async def test_a_rotation_survives_a_short_fault_after_its_commit(clock: ManualClock) -> None:
    class Flaky(MemoryStore):
        """A store that fails the first two keep-alives."""

        faults = 2

        async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            if self.faults:
                self.faults -= 1
                raise StoreUnavailable("The connection was reset.")
            return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    layer = SessionLayer(Flaky(clock=clock), clock)
    session, request_session = await layer.load(await layer.begin(a=1))
    session.log_in("7")
    await session.save()
    clock.advance(SessionPolicy().ttl)
    assert await layer.read(str(request_session.cookie())) == {"a": 1}


async def test_a_session_without_data_is_created_on_demand_only(clock: ManualClock) -> None:
    layer = SessionLayer(MemoryStore(clock=clock), clock)
    session, request_session = await layer.load()
    await session.save()
    assert request_session.cookie() is None
    await request_session.begin(session)
    cookie = request_session.cookie()
    assert cookie is not None
    again, request_session = await layer.load(cookie)
    await request_session.begin(again)
    assert request_session.cookie() is None  # no new cookie
    again.destroy()
    await again.save()
    await request_session.begin(again)
    assert request_session.cleared
    assert request_session.cookie() is None


# -- unreadable records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"garbage", b"[]", b"\x80\x04K\x01.", b"[" * 10_000])
async def test_unreadable_data_count_as_an_absent_session_and_are_logged(
    layer: SessionLayer, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await layer.begin(a=1)
    record = await layer.store.load(key_from_id(cookie))
    assert record is not None
    await layer.store.save(replace(record, data=data), expected=record.version)
    session, request_session = await layer.load(cookie)
    assert session.is_new
    assert session == {}
    assert len([line for line in caplog.records if "unreadable" in line.message]) == 1
    session["b"] = 1
    await session.save()
    assert request_session.cookie() not in (None, cookie)
