"""`FaultyStore`: operations that fail on demand."""

import pytest

from cartapp.session import StoreUnavailable, open_store
from cartapp.session.errors import StoreTimeout
from cartapp.session.stores import Countable, Listable, Purgeable
from cartapp.session.testing import OPERATIONS, FaultyStore, ManualClock
from cartapp.session.testing.records import make_record
from cartapp.session.testing.store_contract import (
    ListableStoreContract,
    PurgeableStoreContract,
    StoreContract,
    StoreFactory,
)
from tests.support.pausable_store import PausableStore

pytestmark = pytest.mark.anyio


class TestWithoutFaults(StoreContract, ListableStoreContract, PurgeableStoreContract):
    @pytest.fixture
    def store_factory(self, clock: ManualClock) -> StoreFactory:
        store = FaultyStore(open_store("memory://", clock=clock))
        return lambda: store


async def call(store: FaultyStore, operation: str) -> None:
    record = make_record(1)
    await {
        "create": lambda: store.create(record),
        "load": lambda: store.load(record.key),
        "save": lambda: store.save(record, expected=1),
        "touch": lambda: store.touch(record.key, expected=1, last_used=1, expires=2),
        "delete": lambda: store.delete(record.key),
        "ping": store.ping,
    }[operation]()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_one_operation_fails_until_recovery(operation: str) -> None:
    store = FaultyStore(open_store("memory://"))
    store.fail(operation)
    for name in OPERATIONS:
        if name != operation:
            await call(store, name)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=f"^FaultyStore: {operation} fails on demand.$"):
            await call(store, operation)
    store.recover()
    await call(store, operation)


async def test_every_operation_fails() -> None:
    store = FaultyStore(open_store("memory://"))
    store.fail(error=StoreTimeout)
    for name in OPERATIONS:
        with pytest.raises(StoreTimeout):
            await call(store, name)


async def test_fails_a_number_of_times() -> None:
    store = FaultyStore(open_store("memory://"))
    store.fail("ping", times=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.ping()
    await store.ping()


@pytest.mark.parametrize("after", [False, True])
async def test_response_is_lost_after_the_operation(after: bool, clock: ManualClock) -> None:
    store = FaultyStore(open_store("memory://", clock=clock))
    record = make_record(clock())
    store.fail("create", after=after)
    with pytest.raises(StoreUnavailable):
        await store.create(record)
    assert (await store.load(record.key) is not None) is after


def test_an_unknown_operation_is_one_sentence() -> None:
    store = FaultyStore(open_store("memory://"))
    with pytest.raises(ValueError, match=r"^FaultyStore.fail: expected one of create, .*, got write\.$"):
        store.fail("write", "save")


def test_has_the_abilities_of_its_store() -> None:
    store = FaultyStore(open_store("memory://"))
    assert isinstance(store, Listable)
    assert isinstance(store, Purgeable)
    assert isinstance(store, Countable)
    assert not isinstance(FaultyStore(PausableStore(open_store("memory://"))), Purgeable)
