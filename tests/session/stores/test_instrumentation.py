"""`InstrumentedStore` reports each operation and otherwise behaves like the wrapped store."""

import asyncio

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreTimeout, StoreUnavailable, UnreadableRecord
from cartapp.session.record import Record, key_from_id, new_id
from cartapp.session.stores.base import Countable, Listable, Purgeable
from cartapp.session.stores.cookie import NoStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from cartapp.session.stores.wrappers.instrumentation import InstrumentedStore, StoreCall
from tests.conftest import ManualClock
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio


class FailingStore(MemoryStore):
    """Raise the given error from `load`; hang if there is none."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def load(self, key: str) -> Record | None:
        if self.error is None:
            await asyncio.Event().wait()
        raise self.error or AssertionError


async def test_each_operation_is_reported_with_its_outcome(clock: ManualClock) -> None:
    calls: list[StoreCall] = []
    store = InstrumentedStore(MemoryStore(clock=clock), calls.append)
    record = make_record(clock())
    assert await store.create(record) == 1
    assert await store.create(record) is None
    loaded = await store.load(record.key)
    assert loaded == replace(record, version=1)
    assert await store.load(key_from_id(new_id())) is None
    assert await store.save(record, expected=1) == 2
    assert await store.save(record, expected=1) is None
    assert await store.touch(record.key, expected=2, last_used=clock(), expires=record.expires)
    assert not await store.touch(record.key, expected=1, last_used=clock(), expires=record.expires)
    assert not await store.delete(record.key, expected=loaded)
    assert await store.save(replace(record, data=b""), expected=2) == 3
    tombstone = await store.load(record.key)
    assert tombstone is not None
    assert await store.delete(record.key, expected=tombstone)
    assert not await store.delete(record.key)

    assert [(call.operation, call.outcome) for call in calls] == [
        ("create", "created"),
        ("create", "taken"),
        ("load", "found"),
        ("load", "absent"),
        ("save", "saved"),
        ("save", "conflict"),
        ("touch", "touched"),
        ("touch", "conflict"),
        ("delete", "conflict"),
        ("save", "tombstone"),
        ("load", "tombstone"),
        ("delete", "deleted"),
        ("delete", "absent"),
    ]
    assert all(call.seconds > 0 for call in calls)
    assert {call.key for call in calls} == {record.key, calls[3].key}


async def test_purge_reports_the_number_of_removed_records(clock: ManualClock) -> None:
    calls: list[StoreCall] = []
    store = InstrumentedStore(MemoryStore(clock=clock), calls.append)
    for _ in range(3):
        await store.create(make_record(clock()))
    clock.advance(2 * HOUR / 1000)
    assert isinstance(store, Purgeable)
    assert isinstance(store, Countable)
    assert await store.count_expired(clock()) == 3
    assert await store.purge(clock()) == 3
    assert (calls[-1].operation, calls[-1].outcome, calls[-1].removed) == ("purge", "purged", 3)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailable("refused"), "unavailable"),
        (UnreadableRecord("garbage"), "unreadable"),
        (RuntimeError("a mistake"), "failed"),
    ],
)
async def test_an_error_is_reported_and_raised(error: Exception, outcome: str) -> None:
    calls: list[StoreCall] = []
    with pytest.raises(type(error)):
        await InstrumentedStore(FailingStore(error), calls.append).load("any")
    assert [(call.operation, call.key, call.outcome) for call in calls] == [("load", "any", outcome)]


async def test_a_cancelled_call_is_reported() -> None:
    calls: list[StoreCall] = []
    store = InstrumentedStore(FailingStore(None), calls.append)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.load("any")
    assert [call.outcome for call in calls] == ["cancelled"]


async def test_a_timeout_is_reported_and_opens_the_circuit_breaker() -> None:
    calls: list[StoreCall] = []
    changes: list[bool] = []
    store = InstrumentedStore(FailingStore(StoreTimeout("hangs")), calls.append)
    breaker = CircuitBreakerStore(store, on_change=changes.append)
    with pytest.raises(StoreTimeout):
        await breaker.load("any")
    assert [call.outcome for call in calls] == ["timeout"]
    assert changes == [True]


def test_it_has_exactly_the_protocols_of_the_store() -> None:
    calls: list[StoreCall] = []
    for store in (MemoryStore(), NoStore()):
        instrumented = InstrumentedStore(store, calls.append)
        assert instrumented.name == store.name
        for ability in (Listable, Purgeable, Countable):
            assert isinstance(instrumented, ability) == isinstance(store, ability)
