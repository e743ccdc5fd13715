"""The memory store beyond the contract: its limit."""

import pytest

from cartapp.session.errors import StoreUnavailable
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio


async def test_a_full_store_rejects_new_sessions_and_keeps_live_ones(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, max_records=3)
    records = [make_record(clock.now) for _ in range(3)]
    for record in records:
        assert await store.create(record) == 1
    with pytest.raises(StoreUnavailable, match=r"^The memory store holds its limit of 3 sessions\.$"):
        await store.create(make_record(clock.now))
    assert await store.create(records[0]) is None
    for record in records:
        assert await store.save(record, expected=1) == 2
    assert await store.delete(records[0].key)
    assert await store.create(make_record(clock.now)) == 1


async def test_a_full_store_drops_expired_records(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, max_records=3)
    short, touched = make_record(clock.now), make_record(clock.now)
    for record in (short, touched, make_record(clock.now, expires=clock.now + 2 * HOUR)):
        await store.create(record)
    await store.touch(touched.key, expected=1, last_used=clock.now, expires=clock.now + 2 * HOUR)
    clock.now = short.expires - 1
    with pytest.raises(StoreUnavailable):
        await store.create(make_record(clock.now))
    clock.advance(0.001)
    assert await store.create(make_record(clock.now)) == 1
    assert await store.load(touched.key) is not None
    with pytest.raises(StoreUnavailable):
        await store.create(make_record(clock.now))


async def test_a_record_with_an_earlier_expiry_is_dropped_then(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, max_records=1)
    record = make_record(clock.now)
    await store.create(record)
    with pytest.raises(StoreUnavailable):
        await store.create(make_record(clock.now))
    await store.touch(record.key, expected=1, last_used=clock.now, expires=clock.now + 1000)
    clock.advance(1)
    assert await store.create(make_record(clock.now)) == 1


async def test_a_full_store_reuses_the_key_of_an_expired_record(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock, max_records=1)
    record = make_record(clock.now)
    await store.create(record)
    clock.now = record.expires
    again = make_record(clock.now, key=record.key)
    assert await store.create(again) == 1
    assert [found.expires async for found in store.scan()] == [again.expires]
