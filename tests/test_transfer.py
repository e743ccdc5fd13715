"""Copying sessions between stores, again and again: the rules, on pairs of real stores."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from cartapp.session.errors import SessionEnded
from cartapp.session.record import Record, key_of, new_id, tombstone_of
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.transfer import Copied, copy_sessions
from tests.conftest import ManualClock
from tests.layer import Layer
from tests.pairs import PAIRS, Pair, change, end, is_live, listed, look, places_of, record_of, rotate
from tests.stores import Open, make_record

pytestmark = pytest.mark.anyio

MINUTE = 60


@pytest.fixture(params=PAIRS)
def places(request: pytest.FixtureRequest, clock: ManualClock) -> tuple[Open, Open]:
    return places_of(request.param, request, clock)


@pytest.fixture
async def pair(places: tuple[Open, Open], clock: ManualClock) -> AsyncIterator[Pair]:
    source, target = places
    pair = Pair(Layer(source(), clock), Layer(target(), clock), clock)
    yield pair
    await pair.close()


@pytest.fixture
def memory(clock: ManualClock) -> Pair:
    return Pair(Layer(MemoryStore(clock=clock), clock), Layer(MemoryStore(clock=clock), clock), clock)


# -- the first copy ---------------------------------------------------------------------------------------


async def test_sessions_move_with_data_expiry_and_user(pair: Pair) -> None:
    cookies = [await pair.source.begin(number=number) for number in range(10)]
    session, visit = await pair.source.visit(cookies[0])
    session.log_in("7", epoch=3)
    await session.save()
    cookies[0] = visit.cookie() or ""
    assert await pair.copy() == Copied(created=10)
    for number, cookie in enumerate(cookies):
        before, after = await record_of(pair.source, cookie), await record_of(pair.target, cookie)
        assert replace(before, version=0) == replace(after, version=0)
        assert await pair.target.read(cookie) == {"number": number}
    assert await listed(pair.target) == set(map(key_of, cookies))
    assert await listed(pair.target, user="7") == {key_of(cookies[0])}


async def test_done_again_it_changes_nothing(pair: Pair) -> None:
    cookies = [await pair.source.begin(number=number) for number in range(10)]
    await pair.copy()
    before = [await record_of(pair.target, cookie) for cookie in cookies]
    assert await pair.copy() == Copied(kept=10)
    assert [await record_of(pair.target, cookie) for cookie in cookies] == before


async def test_notes_are_in_no_listing(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    assert await listed(pair.source) == await listed(pair.target) == {key_of(cookie)}


async def test_tombstones_are_not_copied(pair: Pair) -> None:
    """A limit that docs/backends.md names; after a minute, source and target do the same."""
    former = await pair.source.begin(cart=[1])
    session, visit = await pair.source.visit(former)
    session.log_in("7")
    await session.save()
    present = str(visit.cookie())
    assert await pair.copy() == Copied(created=1)

    async def write_late(layer: Layer) -> str | None:
        session, visit = await layer.visit(former)
        session["late"] = 1
        await session.save()
        return visit.cookie()

    with pytest.raises(SessionEnded):
        await write_late(pair.source)
    assert await write_late(pair.target) is not None
    session, visit = await pair.target.visit(former)
    session.log_in("7")
    await session.save()
    assert await pair.target.read(str(visit.cookie())) == {}
    assert await pair.target.read(present) == {"cart": [1]}
    pair.clock.advance(MINUTE)
    assert await write_late(pair.source) is not None


# -- what ended in the target -----------------------------------------------------------------------------


async def test_what_ended_in_the_target_is_not_copied_again(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    await end(pair.target, cookie)
    for _ in range(2):
        assert await pair.copy() == Copied(ended_in_target=1)
        assert await pair.target.read(cookie) == {}


async def test_what_got_a_new_id_in_the_target_does_not_come_back(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    new = await rotate(pair.target, cookie)
    assert await pair.copy() == Copied(ended_in_target=1)
    pair.clock.advance(2 * MINUTE)
    assert await pair.copy() == Copied(ended_in_target=1)
    assert not await is_live(pair.target, cookie)
    assert await pair.target.read(new) == {"n": 1}


async def test_a_tombstone_in_the_target_counts_as_an_end_without_an_earlier_copy(pair: Pair) -> None:
    cookie = await pair.source.begin(n=1)
    record = await record_of(pair.source, cookie)
    await pair.target.store.create(tombstone_of(record, make_record(0), pair.clock.now + 60_000))
    for _ in range(2):
        assert await pair.copy() == Copied(ended_in_target=1)
        pair.clock.advance(2 * MINUTE)


async def test_an_end_in_the_target_is_remembered_while_the_source_is_used(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    await end(pair.target, cookie)
    for number in range(4):
        pair.clock.advance(50 * MINUTE)
        await change(pair.source, cookie, n=number)
        assert await pair.copy() == Copied(ended_in_target=1)
    assert not await is_live(pair.target, cookie)


async def test_a_copy_that_expired_unused_is_made_again(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    for number in range(2):
        pair.clock.advance(50 * MINUTE)
        await change(pair.source, cookie, n=number)
    assert not await is_live(pair.target, cookie)
    assert await pair.copy() == Copied(created=1)
    assert await pair.target.read(cookie) == {"n": 1}


# -- what ended in the source -----------------------------------------------------------------------------


async def test_what_ended_in_the_source_ends_in_the_target(pair: Pair) -> None:
    cookie, other = await pair.copied(n=1), await pair.copied(n=2)
    await end(pair.source, cookie)
    assert await pair.copy() == Copied(kept=1, ended=1)
    assert await pair.target.read(cookie) == {}
    assert await pair.target.read(other) == {"n": 2}
    assert await pair.copy() == Copied(kept=1)


async def test_a_session_that_got_a_new_id_in_the_source_moves(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    new = await rotate(pair.source, cookie)
    assert await pair.copy() == Copied(created=1, ended=1)
    assert await pair.target.read(cookie) == {}
    assert await pair.target.read(new) == {"n": 1}


@pytest.mark.parametrize("use", [look, change])
async def test_a_session_used_in_the_target_outlives_the_source(memory: Pair, use: object) -> None:
    pair = memory
    cookie, ended = await pair.copied(n=1), await pair.copied(n=2)
    pair.clock.advance(50 * MINUTE)
    for each in (cookie, ended):
        await (look(pair.target, each) if use is look else change(pair.target, each, m=1))
    await end(pair.source, ended)
    pair.clock.advance(50 * MINUTE)
    assert not await is_live(pair.source, cookie)
    assert await pair.copy() == Copied()
    assert (await pair.target.read(cookie))["n"] == 1
    assert (await pair.target.read(ended))["n"] == 2


async def test_an_end_after_a_change_in_the_source_is_seen(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    pair.clock.advance(MINUTE)
    await change(pair.source, cookie, n=2)
    assert (await pair.copy()).replaced == 1
    await end(pair.source, cookie)
    assert await pair.copy() == Copied(ended=1)
    assert not await is_live(pair.target, cookie)


async def test_what_another_source_has_copied_is_left_alone(memory: Pair, clock: ManualClock) -> None:
    cookie = await memory.copied(n=1)
    other = Pair(Layer(MemoryStore(clock=clock), clock), memory.target, clock)
    assert await other.copy() == Copied()
    assert await memory.target.read(cookie) == {"n": 1}


async def test_the_way_back(pair: Pair) -> None:
    """After serving the target, copying back ends in the source what has ended since."""
    kept, changed, ended, rotated, used = [await pair.source.begin(n=number) for number in range(5)]
    await pair.copy()
    await change(pair.target, changed, n=10)  # in the same millisecond as its last use in the source
    await end(pair.target, ended)
    new = await rotate(pair.target, rotated)
    back = Pair(pair.target, pair.source, pair.clock)
    pair.clock.advance(10 * MINUTE)
    await end(pair.target, used)
    await change(pair.source, used, n=40)
    assert await back.copy() == Copied(created=1, replaced=1, kept=1, ended=2, ended_in_target=0)
    assert await pair.source.read(kept) == {"n": 0}
    assert await pair.source.read(changed) == {"n": 10}
    assert await pair.source.read(new) == {"n": 3}
    assert await pair.source.read(used) == {"n": 40}
    assert not await is_live(pair.source, ended)
    assert not await is_live(pair.source, rotated)
    await end(pair.source, changed)
    assert (await pair.copy()).ended == 1
    assert not await is_live(pair.target, changed)


# -- what both have ---------------------------------------------------------------------------------------


async def test_a_change_in_the_source_is_copied_also_within_a_millisecond(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    await change(pair.source, cookie, n=2)
    assert await pair.copy() == Copied(replaced=1)
    assert await pair.target.read(cookie) == {"n": 2}


async def test_a_change_in_the_target_stays_when_the_source_was_only_read(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    await change(pair.target, cookie, n=2)
    assert await pair.copy() == Copied(kept=1)
    pair.clock.advance(10 * MINUTE)
    await look(pair.source, cookie)
    for _ in range(2):
        await pair.copy()
        assert await pair.target.read(cookie) == {"n": 2}
    assert (await record_of(pair.target, cookie)).last_used == pair.clock.now


async def test_a_change_in_the_source_is_copied_when_the_target_was_only_read(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    await change(pair.source, cookie, n=2)
    pair.clock.advance(10 * MINUTE)
    await look(pair.target, cookie)
    assert await pair.copy() == Copied(replaced=1)
    assert await pair.target.read(cookie) == {"n": 2}
    assert (await record_of(pair.target, cookie)).last_used == pair.clock.now
    await end(pair.source, cookie)
    assert await pair.copy() == Copied()  # it was used in the target


@pytest.mark.parametrize("later", ["source", "target"])
async def test_of_changes_in_both_the_later_one_stays(memory: Pair, later: str) -> None:
    cookie = await memory.copied(n=1)
    layers = [memory.source, memory.target]
    for layer in layers if later == "target" else layers[::-1]:
        memory.clock.advance(1)
        await change(layer, cookie, n=layer is memory.source)
    for _ in range(2):
        await memory.copy()
        assert await memory.target.read(cookie) == {"n": later == "source"}


async def test_the_later_last_use_wins_without_an_earlier_copy(clock: ManualClock) -> None:
    older, newer = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = key_of(new_id())
    record = Record(key, clock(), clock(), clock() + 9_000_000, b'{"old":1}')
    await older.create(record)
    await newer.create(replace(record, last_used=clock() + 1, data=b'{"new":1}'))
    assert (await copy_sessions(older, newer, clock=clock)).kept == 1
    assert (await copy_sessions(newer, older, clock=clock)).replaced == 1
    for store in (older, newer):
        held = await store.load(key)
        assert held is not None
        assert held.data == b'{"new":1}'
