"""The rules of repeated copies between stores, on pairs of real stores."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.errors import SessionEnded
from cartapp.session.record import Record, key_from_id, make_tombstone, new_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.store_pairs import (
    PAIRS,
    StorePair,
    end_session,
    is_live,
    list_keys,
    load_record,
    read_as_request,
    rotate_session,
    store_openers,
    update_session,
)
from tests.support.stores import Open, make_record

pytestmark = pytest.mark.anyio

MINUTE = 60


@pytest.fixture(params=PAIRS)
def places(request: pytest.FixtureRequest, clock: ManualClock) -> tuple[Open, Open]:
    return store_openers(request.param, request, clock)


@pytest.fixture
async def pair(places: tuple[Open, Open], clock: ManualClock) -> AsyncIterator[StorePair]:
    source, target = places
    pair = StorePair(SessionLayer(source(), clock), SessionLayer(target(), clock), clock)
    yield pair
    await pair.close()


@pytest.fixture
def memory(clock: ManualClock) -> StorePair:
    return StorePair(
        SessionLayer(MemoryStore(clock=clock), clock), SessionLayer(MemoryStore(clock=clock), clock), clock
    )


# -- the first copy ---------------------------------------------------------------------------------------


async def test_sessions_are_copied_with_data_expiry_and_user(pair: StorePair) -> None:
    cookies = [await pair.source.begin(number=number) for number in range(10)]
    session, request_session = await pair.source.load(cookies[0])
    session.log_in("7", epoch=3)
    await session.save()
    cookies[0] = request_session.cookie() or ""
    assert await pair.copy() == CopyResult(created=10)
    for number, cookie in enumerate(cookies):
        before, after = await load_record(pair.source, cookie), await load_record(pair.target, cookie)
        assert replace(before, version=0) == replace(after, version=0)
        assert await pair.target.read(cookie) == {"number": number}
    assert await list_keys(pair.target) == set(map(key_from_id, cookies))
    assert await list_keys(pair.target, user="7") == {key_from_id(cookies[0])}


async def test_a_large_chunk_of_the_ledger_is_copied(pair: StorePair, clock: ManualClock) -> None:
    """Keys that begin alike are in one chunk; 600 take two batches, each of several bulk operations."""
    keys = {f"AA{number:019d}A" for number in range(600)}
    for key in keys:
        assert await pair.source.store.create(replace(make_record(clock.now), key=key)) is not None
    assert await pair.copy() == CopyResult(created=600)
    assert await list_keys(pair.target) == keys
    assert await pair.copy() == CopyResult(kept=600)


async def test_a_repeated_copy_changes_nothing(pair: StorePair) -> None:
    cookies = [await pair.source.begin(number=number) for number in range(10)]
    await pair.copy()
    before = [await load_record(pair.target, cookie) for cookie in cookies]
    assert await pair.copy() == CopyResult(kept=10)
    assert [await load_record(pair.target, cookie) for cookie in cookies] == before


async def test_notes_are_not_listed(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    assert await list_keys(pair.source) == await list_keys(pair.target) == {key_from_id(cookie)}


async def test_tombstones_are_not_copied(pair: StorePair) -> None:
    """A documented limit (docs/backends.md); after a minute, source and target agree."""
    former = await pair.source.begin(cart=[1])
    session, request_session = await pair.source.load(former)
    session.log_in("7")
    await session.save()
    present = str(request_session.cookie())
    assert await pair.copy() == CopyResult(created=1)

    async def write_late(layer: SessionLayer) -> str | None:
        session, request_session = await layer.load(former)
        session["late"] = 1
        await session.save()
        return request_session.cookie()

    with pytest.raises(SessionEnded):
        await write_late(pair.source)
    assert await write_late(pair.target) is not None
    session, request_session = await pair.target.load(former)
    session.log_in("7")
    await session.save()
    assert await pair.target.read(str(request_session.cookie())) == {}
    assert await pair.target.read(present) == {"cart": [1]}
    pair.clock.advance(MINUTE)
    assert await write_late(pair.source) is not None


# -- ended in the target ----------------------------------------------------------------------------------


async def test_a_session_ended_in_the_target_is_not_copied_again(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    await end_session(pair.target, cookie)
    for _ in range(2):
        assert await pair.copy() == CopyResult(ended_in_target=1)
        assert await pair.target.read(cookie) == {}


async def test_a_session_rotated_in_the_target_is_not_copied_again(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    new = await rotate_session(pair.target, cookie)
    assert await pair.copy() == CopyResult(ended_in_target=1)
    pair.clock.advance(2 * MINUTE)
    assert await pair.copy() == CopyResult(ended_in_target=1)
    assert not await is_live(pair.target, cookie)
    assert await pair.target.read(new) == {"n": 1}


async def test_a_tombstone_in_the_target_counts_as_ended_on_the_first_copy(pair: StorePair) -> None:
    cookie = await pair.source.begin(n=1)
    record = await load_record(pair.source, cookie)
    await pair.target.store.create(make_tombstone(record, make_record(0), pair.clock.now + 60_000))
    for _ in range(2):
        assert await pair.copy() == CopyResult(ended_in_target=1)
        pair.clock.advance(2 * MINUTE)


async def test_an_end_in_the_target_is_recorded_while_the_source_is_used(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    await end_session(pair.target, cookie)
    for number in range(4):
        pair.clock.advance(50 * MINUTE)
        await update_session(pair.source, cookie, n=number)
        assert await pair.copy() == CopyResult(ended_in_target=1)
    assert not await is_live(pair.target, cookie)


async def test_an_expired_copy_is_copied_again(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    for number in range(2):
        pair.clock.advance(50 * MINUTE)
        await update_session(pair.source, cookie, n=number)
    assert not await is_live(pair.target, cookie)
    assert await pair.copy() == CopyResult(created=1)
    assert await pair.target.read(cookie) == {"n": 1}


# -- ended in the source ----------------------------------------------------------------------------------


async def test_a_session_ended_in_the_source_ends_in_the_target(pair: StorePair) -> None:
    cookie, other = await pair.create_and_copy(n=1), await pair.create_and_copy(n=2)
    await end_session(pair.source, cookie)
    assert await pair.copy() == CopyResult(kept=1, ended=1)
    assert await pair.target.read(cookie) == {}
    assert await pair.target.read(other) == {"n": 2}
    assert await pair.copy() == CopyResult(kept=1)


async def test_a_session_rotated_in_the_source_is_copied_under_its_new_id(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    new = await rotate_session(pair.source, cookie)
    assert await pair.copy() == CopyResult(created=1, ended=1)
    assert await pair.target.read(cookie) == {}
    assert await pair.target.read(new) == {"n": 1}


@pytest.mark.parametrize("use", [read_as_request, update_session])
async def test_a_session_used_in_the_target_survives_its_end_in_the_source(
    memory: StorePair, use: object
) -> None:
    pair = memory
    cookie, ended = await pair.create_and_copy(n=1), await pair.create_and_copy(n=2)
    pair.clock.advance(50 * MINUTE)
    for each in (cookie, ended):
        await (
            read_as_request(pair.target, each)
            if use is read_as_request
            else update_session(pair.target, each, m=1)
        )
    await end_session(pair.source, ended)
    pair.clock.advance(50 * MINUTE)
    assert not await is_live(pair.source, cookie)
    assert await pair.copy() == CopyResult()
    assert (await pair.target.read(cookie))["n"] == 1
    assert (await pair.target.read(ended))["n"] == 2


async def test_an_end_after_a_change_in_the_source_is_detected(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    pair.clock.advance(MINUTE)
    await update_session(pair.source, cookie, n=2)
    assert (await pair.copy()).replaced == 1
    await end_session(pair.source, cookie)
    assert await pair.copy() == CopyResult(ended=1)
    assert not await is_live(pair.target, cookie)


async def test_copies_of_another_source_are_unchanged(memory: StorePair, clock: ManualClock) -> None:
    cookie = await memory.create_and_copy(n=1)
    other = StorePair(SessionLayer(MemoryStore(clock=clock), clock), memory.target, clock)
    assert await other.copy() == CopyResult()
    assert await memory.target.read(cookie) == {"n": 1}


async def test_a_copy_in_the_other_direction(pair: StorePair) -> None:
    """A copy back ends sessions in the source that ended in the target since."""
    kept, changed, ended, rotated, used = [await pair.source.begin(n=number) for number in range(5)]
    await pair.copy()
    await update_session(pair.target, changed, n=10)  # in the millisecond of its last use in the source
    await end_session(pair.target, ended)
    new = await rotate_session(pair.target, rotated)
    back = StorePair(pair.target, pair.source, pair.clock)
    pair.clock.advance(10 * MINUTE)
    await end_session(pair.target, used)
    await update_session(pair.source, used, n=40)
    assert await back.copy() == CopyResult(created=1, replaced=1, kept=1, ended=2, ended_in_target=0)
    assert await pair.source.read(kept) == {"n": 0}
    assert await pair.source.read(changed) == {"n": 10}
    assert await pair.source.read(new) == {"n": 3}
    assert await pair.source.read(used) == {"n": 40}
    assert not await is_live(pair.source, ended)
    assert not await is_live(pair.source, rotated)
    await end_session(pair.source, changed)
    assert (await pair.copy()).ended == 1
    assert not await is_live(pair.target, changed)


# -- in both stores ---------------------------------------------------------------------------------------


async def test_a_change_within_the_same_millisecond_is_copied(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    await update_session(pair.source, cookie, n=2)
    assert await pair.copy() == CopyResult(replaced=1)
    assert await pair.target.read(cookie) == {"n": 2}


async def test_a_change_in_the_target_wins_over_a_read_in_the_source(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    await update_session(pair.target, cookie, n=2)
    assert await pair.copy() == CopyResult(kept=1)
    pair.clock.advance(10 * MINUTE)
    await read_as_request(pair.source, cookie)
    for _ in range(2):
        await pair.copy()
        assert await pair.target.read(cookie) == {"n": 2}
    assert (await load_record(pair.target, cookie)).last_used == pair.clock.now


async def test_a_change_in_the_source_wins_over_a_read_in_the_target(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    await update_session(pair.source, cookie, n=2)
    pair.clock.advance(10 * MINUTE)
    await read_as_request(pair.target, cookie)
    assert await pair.copy() == CopyResult(replaced=1)
    assert await pair.target.read(cookie) == {"n": 2}
    assert (await load_record(pair.target, cookie)).last_used == pair.clock.now
    await end_session(pair.source, cookie)
    assert await pair.copy() == CopyResult()  # it was used in the target


@pytest.mark.parametrize("later", ["source", "target"])
async def test_the_later_of_two_changes_wins(memory: StorePair, later: str) -> None:
    cookie = await memory.create_and_copy(n=1)
    layers = [memory.source, memory.target]
    for layer in layers if later == "target" else layers[::-1]:
        memory.clock.advance(1)
        await update_session(layer, cookie, n=layer is memory.source)
    for result in (CopyResult(changed_in_both=1), CopyResult(kept=1)):
        assert await memory.copy() == result
        assert await memory.target.read(cookie) == {"n": later == "source"}


async def test_the_later_last_use_wins_on_the_first_copy(clock: ManualClock) -> None:
    older, newer = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = key_from_id(new_id())
    record = Record(key, clock(), clock(), clock() + 9_000_000, b'{"old":1}')
    await older.create(record)
    await newer.create(replace(record, last_used=clock() + 1, data=b'{"new":1}'))
    assert (await copy_sessions(older, newer, clock=clock)).changed_in_both == 1
    assert await copy_sessions(newer, older, clock=clock) == CopyResult(replaced=1)
    for store in (older, newer):
        held = await store.load(key)
        assert held is not None
        assert held.data == b'{"new":1}'
