"""Concurrent copies while clients use both stores."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import pytest

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.admin.copy_ledger import make_reservation
from cartapp.session.record import Record, Version, key_from_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.store_pairs import (
    CopyLoad,
    CrashingProcess,
    CrashingStore,
    StorePair,
    end_session,
    load_record,
    update_session,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def pair(clock: ManualClock) -> StorePair:
    return StorePair(
        SessionLayer(MemoryStore(clock=clock), clock), SessionLayer(MemoryStore(clock=clock), clock), clock
    )


async def test_a_late_reservation_revives_no_session(pair: StorePair) -> None:
    """Another copy may have read the ledger before the first copy of the session."""
    cookie = await pair.create_and_copy(n=1)
    await end_session(pair.target, cookie)
    await pair.target.store.create(make_reservation(await load_record(pair.source, cookie)))
    for _ in range(2):
        assert await pair.copy() == CopyResult(ended_in_target=1)
        assert await pair.target.store.load(key_from_id(cookie)) is None


class Late(MemoryStore):
    """A target in which another copy and a client are faster than the reservation of a new session."""

    def __init__(self, pair: StorePair, cookie: str) -> None:
        super().__init__(clock=pair.clock)
        assert isinstance(pair.target.store, MemoryStore)
        self._records = pair.target.store._records
        self._pair, self._cookie = pair, cookie

    async def create(self, record: Record) -> Version | None:
        if record.key != key_from_id(self._cookie) or await self._pair.target.store.load(record.key):
            return await super().create(record)
        await self._pair.copy()
        written = await load_record(self._pair.target, self._cookie)
        await end_session(self._pair.target, self._cookie)
        version = await super().create(record)
        # A third copy that was about to write the session when the other one did.
        assert await self._pair.target.store.save(written, expected=version or 0) is not None
        return version


async def test_a_session_ended_during_concurrent_copies_stays_ended(pair: StorePair) -> None:
    cookie = await pair.source.begin(n=1)
    late = Late(pair, cookie)
    assert await copy_sessions(pair.source.store, late, clock=pair.clock) == CopyResult(ended_in_target=1)
    assert await late.load(key_from_id(cookie)) is None
    assert await pair.copy() == CopyResult(ended_in_target=1)


class Overtaken(Late):
    """A target in which another copy completes the reservation and copies a later change."""

    async def create(self, record: Record) -> Version | None:
        version = await MemoryStore.create(self, record)
        if version is not None and record.key == key_from_id(self._cookie):
            await self._pair.copy()
            await update_session(self._pair.source, self._cookie, n=2)
            await self._pair.copy()
        return version


async def test_a_session_completed_by_another_copy_is_kept(pair: StorePair) -> None:
    cookie = await pair.source.begin(n=1)
    target = Overtaken(pair, cookie)
    assert await copy_sessions(pair.source.store, target, clock=pair.clock) == CopyResult(kept=1)
    assert await pair.target.read(cookie) == {"n": 2}


class Uneven(CrashingProcess):
    """Random pauses before calls, so that each seed gives another order."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        for _ in range(self._random.choice([0, 1, 1, 2, 2, 3, 60])):
            await asyncio.sleep(0)
        return await operation()


@pytest.mark.parametrize("seed", range(30))
async def test_two_copies_while_clients_use_both_stores(clock: ManualClock, seed: int) -> None:
    random = Random(seed)
    places = MemoryStore(clock=clock), MemoryStore(clock=clock)
    source, target = (SessionLayer(CrashingStore(place, Uneven(random)), clock) for place in places)
    pair, crowd = StorePair(source, target, clock), CopyLoad(source, target, random)

    async def visits() -> None:
        for _ in range(60):
            request_session = random.choice([crowd.visit_source, crowd.visit_source, crowd.visit_target])
            await request_session()

    async def copies() -> None:
        for _ in range(random.randrange(2, 6)):
            await pair.copy()

    await crowd.add_visitors(5)
    await asyncio.gather(visits(), visits(), visits(), copies(), copies(), copies())
    await asyncio.gather(pair.copy(), pair.copy())
    await crowd.check()
