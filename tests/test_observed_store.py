"""A store round another one that tells what was done, and otherwise is that store."""

import asyncio

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable, UnreadableRecord
from cartapp.session.guard import GuardedStore
from cartapp.session.record import Record, key_of, new_id
from cartapp.session.stores.base import Countable, Listable, Purgeable
from cartapp.session.stores.cookie import NoStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.observed import Observation, ObservedStore

from .conftest import ManualClock
from .stores import HOUR, make_record

pytestmark = pytest.mark.anyio


class Failing(MemoryStore):
    """Raises what it is given; hangs when that is None."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error

    async def load(self, key: str) -> Record | None:
        if self.error is None:
            await asyncio.Event().wait()
        raise self.error or AssertionError


async def test_each_operation_is_told_with_what_came_of_it(clock: ManualClock) -> None:
    seen: list[Observation] = []
    store = ObservedStore(MemoryStore(clock=clock), seen.append)
    record = make_record(clock())
    assert await store.create(record) == 1
    assert await store.create(record) is None
    loaded = await store.load(record.key)
    assert loaded == replace(record, version=1)
    assert await store.load(key_of(new_id())) is None
    assert await store.save(record, expected=1) == 2
    assert await store.save(record, expected=1) is None
    assert await store.touch(record.key, expected=2, last_used=clock(), expires=record.expires)
    assert not await store.touch(record.key, expected=1, last_used=clock(), expires=record.expires)
    assert not await store.delete(record.key, expected=loaded)
    assert await store.save(replace(record, data=b""), expected=2) == 3
    retired = await store.load(record.key)
    assert retired is not None
    assert await store.delete(record.key, expected=retired)
    assert not await store.delete(record.key)

    assert [(one.operation, one.outcome) for one in seen] == [
        ("create", "created"),
        ("create", "taken"),
        ("load", "found"),
        ("load", "absent"),
        ("save", "saved"),
        ("save", "conflict"),
        ("touch", "touched"),
        ("touch", "conflict"),
        ("delete", "conflict"),
        ("save", "retired"),
        ("load", "retired"),
        ("delete", "deleted"),
        ("delete", "absent"),
    ]
    assert all(one.seconds > 0 for one in seen)
    assert {one.key for one in seen} == {record.key, seen[3].key}


async def test_a_purge_tells_how_many_went(clock: ManualClock) -> None:
    seen: list[Observation] = []
    store = ObservedStore(MemoryStore(clock=clock), seen.append)
    for _ in range(3):
        await store.create(make_record(clock()))
    clock.advance(2 * HOUR / 1000)
    assert isinstance(store, Purgeable)
    assert isinstance(store, Countable)
    assert await store.count_expired(clock()) == 3
    assert await store.purge(clock()) == 3
    assert (seen[-1].operation, seen[-1].outcome, seen[-1].removed) == ("purge", "purged", 3)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (StoreUnavailable("refused"), "unavailable"),
        (UnreadableRecord("garbage"), "unreadable"),
        (RuntimeError("a mistake"), "failed"),
    ],
)
async def test_an_error_is_told_and_goes_on(error: Exception, outcome: str) -> None:
    seen: list[Observation] = []
    with pytest.raises(type(error)):
        await ObservedStore(Failing(error), seen.append).load("any")
    assert [(one.operation, one.key, one.outcome) for one in seen] == [("load", "any", outcome)]


async def test_a_time_out_is_told(clock: ManualClock) -> None:
    seen: list[Observation] = []
    changes: list[bool] = []
    store = Failing(None)
    guarded = GuardedStore(ObservedStore(store, seen.append), 0.01, on_change=changes.append)
    with pytest.raises(StoreUnavailable):
        await guarded.load("any")
    assert [one.outcome for one in seen] == ["abandoned"]
    assert changes == [True]


def test_it_can_do_what_the_store_can_and_no_more() -> None:
    seen: list[Observation] = []
    for store in (MemoryStore(), NoStore()):
        observed = ObservedStore(store, seen.append)
        assert observed.name == store.name
        for ability in (Listable, Purgeable, Countable):
            assert isinstance(observed, ability) == isinstance(store, ability)
