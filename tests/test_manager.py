"""The policy over one store: conflicts, new ids, ends, users and bounds."""

import asyncio
import logging
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from cartapp.session import (
    SessionBusy,
    SessionEnded,
    SessionTooLarge,
    StoreUnavailable,
)
from cartapp.session.policy import TOMBSTONE_LIFETIME, Policy
from cartapp.session.record import Record, Version, key_of, new_id
from cartapp.session.session import Session
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer, Yielding

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[MemoryStore, Yielding])
def layer(clock: ManualClock, request: pytest.FixtureRequest) -> Layer:
    return Layer(request.param(clock=clock), clock)


def increment(value: int) -> int:
    return value + 1


# -- no lost update ---------------------------------------------------------------------------------------


async def test_every_answer_shows_its_own_commit(layer: Layer) -> None:
    cookie = await layer.begin(visits=0)

    async def visit() -> int:
        session, _ = await layer.visit(cookie)
        session.modify("visits", increment)
        await session.save()
        answer: int = session["visits"]
        return answer

    answers = await asyncio.gather(*(visit() for _ in range(200)))
    assert sorted(answers) == list(range(1, 201))


async def test_two_processes_lose_nothing(layer: Layer) -> None:
    """Two layers on one store share no turn: only compare-and-set keeps them apart."""
    other = Layer(layer.store, layer.clock)
    cookie = await layer.begin(visits=0)
    loaded = [await each.visit(cookie) for each in (layer, other) * 50]
    for session, _ in loaded:
        session.modify("visits", increment)
    await asyncio.gather(*(session.save() for session, _ in loaded))
    assert await layer.read(cookie) == {"visits": 100}


async def test_different_keys_never_touch_each_other(layer: Layer) -> None:
    cookie = await layer.begin(a=1, b=1)
    first, _ = await layer.visit(cookie)
    second, _ = await layer.visit(cookie)
    first["a"] = 2
    second["b"] = 2
    await first.save()
    await second.save()
    assert await layer.read(cookie) == {"a": 2, "b": 2}
    assert layer.counts["overwritten"] == 0


async def test_the_last_plain_set_wins_and_is_counted(layer: Layer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cookie = await layer.begin(theme="light")
    first, _ = await layer.visit(cookie)
    second, _ = await layer.visit(cookie)
    first["theme"], second["theme"] = "dark", "auto"
    await first.save()
    await second.save()
    assert await layer.read(cookie) == {"theme": "auto"}
    assert layer.counts["overwritten"] == 1
    assert "concurrent requests set 'theme'" in caplog.text


async def test_a_key_that_is_overwritten_counts_once_however_often_the_commit_is_tried(
    clock: ManualClock,
) -> None:
    class Busy(MemoryStore):
        """A store in which another request is faster, three times."""

        faster = 0

        async def save(self, record: Record, *, expected: Version) -> Version | None:
            if self.faster:
                self.faster -= 1
                number = self.faster
                self.faster = 0
                other, _ = await elsewhere.visit(cookie)
                other.update(theme="theirs", number=number)
                await other.save()
                self.faster = number
            return await super().save(record, expected=expected)

    store = Busy(clock=clock)
    layer, elsewhere = Layer(store, clock), Layer(store, clock)
    cookie = await layer.begin(theme="light")
    session, _ = await layer.visit(cookie)
    session["theme"] = "dark"
    store.faster = 3
    await session.save()
    assert layer.counts == {"conflicts": 3, "overwritten": 1}


async def test_a_failing_function_changes_nothing_on_the_newest_value(layer: Layer) -> None:
    def once(value: int) -> int:
        if value:
            raise ValueError("full")
        return value + 1

    cookie = await layer.begin(lines=0)
    first, _ = await layer.visit(cookie)
    second, _ = await layer.visit(cookie)
    first.modify("lines", once)
    second.modify("lines", once)
    second["also"] = 1
    await first.save()
    with pytest.raises(ValueError, match="full"):
        await second.save()
    await second.save()  # what failed is forgotten, not tried again
    assert await layer.read(cookie) == {"lines": 1}


async def test_flash_goes_to_exactly_one(layer: Layer) -> None:
    session, visit = await layer.visit()
    session.flash("message", "one")
    session.flash("message", "two")
    await session.save()
    loaded = [(await layer.visit(visit.cookie()))[0] for _ in range(10)]
    taken = await asyncio.gather(*(each.take_flash("message") for each in loaded))
    assert sorted(filter(None, taken)) == ["one", "two"]


class Contended(MemoryStore):
    """A store in which somebody else is always faster."""

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return None


async def test_endless_contention_is_told(clock: ManualClock) -> None:
    layer = Layer(Contended(clock=clock), clock, Policy(timeout=0.05))
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    session["a"] = 2
    with pytest.raises(SessionBusy):
        await session.save()


# -- no resurrection --------------------------------------------------------------------------------------

Change = Callable[[Session], None]


@pytest.mark.parametrize("change", [Session.destroy, Session.regenerate, lambda s: s.log_in("7")])
@pytest.mark.parametrize(
    "late", [lambda s: s.set("b", 2), lambda s: s.modify("a", increment), Session.regenerate]
)
async def test_a_late_writer_never_brings_a_session_back(layer: Layer, change: Change, late: Change) -> None:
    cookie = await layer.begin(a=1)
    slow, slow_visit = await layer.visit(cookie)
    late(slow)
    fast, _ = await layer.visit(cookie)
    change(fast)
    await fast.save()
    with pytest.raises(SessionEnded):
        await slow.save()
    assert slow_visit.cookie() is None
    assert not slow_visit.cleared
    assert await layer.read(cookie) == {}


async def test_a_destroyed_id_is_a_new_visitor_later(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    session.destroy()
    await session.save()
    assert visit.cleared
    assert visit.cookie() is None
    again, later = await layer.visit(cookie)
    assert again.is_new
    again["b"] = 1
    await again.save()
    assert later.cookie() not in (None, cookie)
    assert await layer.read(cookie) == {}


async def test_a_tombstone_reads_as_empty_and_refuses_plain_writes(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    renewed = visit.cookie()
    assert renewed not in (None, cookie)
    assert await layer.read(str(renewed)) == {"a": 1}
    writes: list[Change] = [lambda s: s.set("x", 1), lambda s: s.update(x=1), Session.regenerate]
    for write in writes:
        late, late_visit = await layer.visit(cookie)
        assert late == {}
        assert not late.is_new
        write(late)
        with pytest.raises(SessionEnded):
            await late.save()
        assert late_visit.cookie() is None
        assert not late_visit.cleared
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    later, _ = await layer.visit(cookie)
    assert later.is_new


async def test_keep_alive_does_not_prolong_a_retired_id(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(600)
    slow, _ = await layer.visit(cookie)
    fast, _ = await layer.visit(cookie)
    fast.regenerate()
    await fast.save()
    await slow.save()  # only a keep-alive
    clock.advance(TOMBSTONE_LIFETIME / 1000)
    assert await layer.store.load(key_of(cookie)) is None


async def test_ten_renewals_at_once_leave_one_session(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    loaded = [await layer.visit(cookie) for _ in range(10)]
    for session, _ in loaded:
        session.regenerate()
    outcomes = await asyncio.gather(*(session.save() for session, _ in loaded), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SessionEnded) for outcome in outcomes) == 9
    assert isinstance(layer.store, MemoryStore)
    assert [summary.size async for summary in layer.store.scan()] == [len(b'{"a":1}')]


async def test_log_out_wins_over_a_use_in_between(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    leaving, visit = await layer.visit(cookie)
    leaving.destroy()
    writer, _ = await layer.visit(cookie)
    writer["a"] = 2
    await writer.save()
    await leaving.save()
    assert visit.cleared
    assert await layer.read(cookie) == {}


async def test_what_is_set_after_destroy_begins_a_new_session(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    session.destroy()
    session.flash("message", "Logged out")
    await session.save()
    fresh = visit.cookie()
    assert fresh not in (None, cookie)
    assert list(await layer.read(str(fresh))) == ["_flash"]
    assert await layer.read(cookie) == {}


async def test_an_id_from_outside_is_never_adopted(layer: Layer) -> None:
    planted = new_id()
    session, visit = await layer.visit(planted)
    session["a"] = 1
    await session.save()
    assert visit.cookie() not in (None, planted)
    assert await layer.read(planted) == {}


async def test_a_taken_key_is_never_taken_over(layer: Layer) -> None:
    session, visit = await layer.visit()
    handle = session.id
    taken = Record(handle, layer.clock(), layer.clock(), layer.clock() + 10_000, b'{"theirs":1}')
    await layer.store.create(taken)
    session["mine"] = 1
    await session.save()
    assert session.id != handle
    assert await layer.read(str(visit.cookie())) == {"mine": 1}
    stored = await layer.store.load(handle)
    assert stored is not None
    assert stored.data == b'{"theirs":1}'


async def test_a_writer_waiting_behind_a_renewal_does_not_reach_the_new_id(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    renewing, visit = await layer.visit(cookie)
    writing, late = await layer.visit(cookie)
    renewing.regenerate()
    writing["b"] = 2
    outcomes = await asyncio.gather(renewing.save(), writing.save(), return_exceptions=True)
    assert outcomes[0] is None
    assert isinstance(outcomes[1], SessionEnded)
    assert late.cookie() is None
    assert await layer.read(str(visit.cookie())) == {"a": 1}


# -- users ------------------------------------------------------------------------------------------------


async def test_log_in_keeps_the_data_under_a_new_id_and_lifetime(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(cart=[1])
    clock.advance(100)
    session, visit = await layer.visit(cookie)
    session.log_in("7", epoch=3)
    assert session.user_id == "7"
    await session.save()
    record = await layer.store.load(session.id)
    assert record is not None
    assert (record.user_id, record.epoch, record.created) == ("7", 3, clock())
    assert await layer.read(str(visit.cookie())) == {"cart": [1]}


async def test_clear_takes_the_user_away(layer: Layer) -> None:
    session, visit = await layer.visit()
    session.log_in("7")
    await session.save()
    session.clear()
    assert session.user_id is None
    await session.save()
    again, _ = await layer.visit(visit.cookie())
    assert again.user_id is None
    assert not again.is_new


async def test_a_user_no_longer_current_is_a_new_visitor_at_the_next_request(clock: ManualClock) -> None:
    epochs = {"7": 1}
    asked: list[tuple[str, int]] = []

    async def is_current(user: str, epoch: int) -> bool:
        asked.append((user, epoch))
        return epochs.get(user) == epoch

    layer = Layer(MemoryStore(clock=clock), clock, Policy(is_current=is_current))
    guest = await layer.begin(a=1)
    session, visit = await layer.visit(guest)
    assert asked == []
    session.log_in("7", epoch=1)
    await session.save()
    cookie = visit.cookie()
    assert (await layer.visit(cookie))[0].user_id == "7"
    epochs["7"] = 2
    ended, late = await layer.visit(cookie)
    assert ended.is_new
    assert ended == {}
    assert late.cookie() is None
    epochs["7"] = 1  # the record itself is gone, not only hidden
    assert (await layer.visit(cookie))[0].is_new


# -- economy and bounds -----------------------------------------------------------------------------------


async def test_who_stores_nothing_leaves_nothing(layer: Layer) -> None:
    session, visit = await layer.visit()
    session["a"] = 1
    del session["a"]
    session.clear()
    session.regenerate()
    session.destroy()
    await session.save()
    assert visit.cookie() is None
    assert isinstance(layer.store, MemoryStore)
    assert [summary async for summary in layer.store.scan()] == []


async def test_setting_the_same_value_writes_nothing(layer: Layer) -> None:
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    assert session.record is not None
    before = session.record.version
    session["a"] = 1
    await session.save()
    assert session.record.version == before


async def test_too_large_names_the_keys_and_changes_nothing(clock: ManualClock) -> None:
    layer = Layer(MemoryStore(clock=clock), clock, Policy(max_bytes=100))
    cookie = await layer.begin(a=1)
    session, _ = await layer.visit(cookie)
    session["big"] = "x" * 100
    with pytest.raises(SessionTooLarge, match=r"limit is 100.*big, a"):
        await session.save()
    assert await layer.read(cookie) == {"a": 1}


async def test_a_session_larger_than_a_lowered_limit_can_shrink(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    cookie = await Layer(store, clock).begin(a="x" * 90, b="x" * 90)
    layer = Layer(store, clock, Policy(max_bytes=80))
    session, visit = await layer.visit(cookie)
    session.log_in("7")
    await session.save()
    session.delete("a")
    await session.save()
    session["c"] = 1
    with pytest.raises(SessionTooLarge):
        await session.save()
    assert list(await layer.read(str(visit.cookie()))) == ["b"]


async def test_a_rotation_survives_a_short_fault_after_its_commit(clock: ManualClock) -> None:
    class Flaky(MemoryStore):
        """A store whose first two keep-alives fail."""

        faults = 2

        async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            if self.faults:
                self.faults -= 1
                raise StoreUnavailable("The connection was reset.")
            return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    layer = Layer(Flaky(clock=clock), clock)
    session, visit = await layer.visit(await layer.begin(a=1))
    session.log_in("7")
    await session.save()
    clock.advance(Policy().ttl)
    assert await layer.read(str(visit.cookie())) == {"a": 1}


async def test_c11_a_session_without_data_begins_only_when_asked_for(clock: ManualClock) -> None:
    layer = Layer(MemoryStore(clock=clock), clock)
    session, visit = await layer.visit()
    await session.save()
    assert visit.cookie() is None
    await visit.begin(session)
    cookie = visit.cookie()
    assert cookie is not None
    again, visit = await layer.visit(cookie)
    await visit.begin(again)
    assert visit.cookie() is None  # it has begun
    again.destroy()
    await again.save()
    await visit.begin(again)
    assert visit.cleared
    assert visit.cookie() is None


# -- unreadable records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"garbage", b"[]", b"\x80\x04K\x01.", b"[" * 10_000])
async def test_unreadable_data_is_an_absent_session_and_a_log_line(
    layer: Layer, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await layer.begin(a=1)
    record = await layer.store.load(key_of(cookie))
    assert record is not None
    await layer.store.save(replace(record, data=data), expected=record.version)
    session, visit = await layer.visit(cookie)
    assert session.is_new
    assert session == {}
    assert len([line for line in caplog.records if "unreadable" in line.message]) == 1
    session["b"] = 1
    await session.save()
    assert visit.cookie() not in (None, cookie)
