"""Several copies at the same time, while visitors use both stores."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

import pytest

from cartapp.session.ledger import reservation_of
from cartapp.session.record import Record, Version, key_of
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.transfer import Copied, copy_sessions
from tests.conftest import ManualClock
from tests.layer import Layer
from tests.pairs import Crowd, Pair, Process, Watched, change, end, record_of

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def pair(clock: ManualClock) -> Pair:
    return Pair(Layer(MemoryStore(clock=clock), clock), Layer(MemoryStore(clock=clock), clock), clock)


async def test_a_reservation_that_came_too_late_revives_nothing(pair: Pair) -> None:
    """Another copy may have read the ledger before the session was copied the first time."""
    cookie = await pair.copied(n=1)
    await end(pair.target, cookie)
    await pair.target.store.create(reservation_of(await record_of(pair.source, cookie)))
    for _ in range(2):
        assert await pair.copy() == Copied(ended_in_target=1)
        assert await pair.target.store.load(key_of(cookie)) is None


class Late(MemoryStore):
    """A target where another copy and a visitor are faster, while a new session is about to be reserved."""

    def __init__(self, pair: Pair, cookie: str) -> None:
        super().__init__(clock=pair.clock)
        assert isinstance(pair.target.store, MemoryStore)
        self._records = pair.target.store._records
        self._pair, self._cookie = pair, cookie

    async def create(self, record: Record) -> Version | None:
        if record.key != key_of(self._cookie) or await self._pair.target.store.load(record.key):
            return await super().create(record)
        await self._pair.copy()
        written = await record_of(self._pair.target, self._cookie)
        await end(self._pair.target, self._cookie)
        version = await super().create(record)
        # A third copy, which was about to write the session when the other one did.
        assert await self._pair.target.store.save(written, expected=version or 0) is not None
        return version


async def test_a_session_that_ends_while_several_copies_reserve_it_stays_ended(pair: Pair) -> None:
    cookie = await pair.source.begin(n=1)
    late = Late(pair, cookie)
    assert await copy_sessions(pair.source.store, late, clock=pair.clock) == Copied(ended_in_target=1)
    assert await late.load(key_of(cookie)) is None
    assert await pair.copy() == Copied(ended_in_target=1)


class Overtaken(Late):
    """A target where another copy completes the reservation, and copies a later change too."""

    async def create(self, record: Record) -> Version | None:
        version = await MemoryStore.create(self, record)
        if version is not None and record.key == key_of(self._cookie):
            await self._pair.copy()
            await change(self._pair.source, self._cookie, n=2)
            await self._pair.copy()
        return version


async def test_a_reservation_that_another_copy_completed_stays(pair: Pair) -> None:
    cookie = await pair.source.begin(n=1)
    target = Overtaken(pair, cookie)
    assert await copy_sessions(pair.source.store, target, clock=pair.clock) == Copied(kept=1)
    assert await pair.target.read(cookie) == {"n": 2}


class Uneven(Process):
    """Calls that let others go first, now and then for long, so that each seed is another order of them."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        for _ in range(self._random.choice([0, 1, 1, 2, 2, 3, 60])):
            await asyncio.sleep(0)
        return await operation()


@pytest.mark.parametrize("seed", range(30))
async def test_two_copies_while_visitors_use_both_stores(clock: ManualClock, seed: int) -> None:
    random = Random(seed)
    places = MemoryStore(clock=clock), MemoryStore(clock=clock)
    source, target = (Layer(Watched(place, Uneven(random)), clock) for place in places)
    pair, crowd = Pair(source, target, clock), Crowd(source, target, random)

    async def visits() -> None:
        for _ in range(60):
            visit = random.choice([crowd.visit_source, crowd.visit_source, crowd.visit_target])
            await visit()

    async def copies() -> None:
        for _ in range(random.randrange(2, 6)):
            await pair.copy()

    await crowd.arrive(5)
    await asyncio.gather(visits(), visits(), visits(), copies(), copies(), copies())
    await asyncio.gather(pair.copy(), pair.copy())
    await crowd.check()
