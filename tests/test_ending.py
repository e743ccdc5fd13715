"""Ending many sessions while some of them get new IDs."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cartapp.session import Sessions
from cartapp.session.record import Summary, summary_of
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer

pytestmark = pytest.mark.anyio


class Slow(MemoryStore):
    """A store whose listing takes the keys first, and looks at each of them later, as Redis does."""

    passes = 0

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.has_keys, self.go_on = asyncio.Event(), asyncio.Event()

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        self.passes += 1
        keys = [summary.key async for summary in super().scan()]
        self.has_keys.set()
        await self.go_on.wait()
        for key in keys:
            record = await self.load(key)
            if record and not record.is_tombstone and user_id in (None, record.user_id):
                yield summary_of(record)


@pytest.mark.parametrize("user", ["7", None])
async def test_ending_finds_the_only_session_that_is_rotated_during_the_listing(
    clock: ManualClock, user: str | None
) -> None:
    store = Slow(clock)
    layer = Layer(store, clock)
    session, visit = await layer.visit()
    session["cart"] = [1]
    session.log_in("7")
    await session.save()
    session, visit = await layer.visit(visit.cookie())
    sessions = Sessions(store, clock=clock)
    ending = asyncio.create_task(sessions.end_user(user) if user else sessions.clear())
    await store.has_keys.wait()
    session.regenerate()
    await session.save()
    store.go_on.set()
    assert await ending == 1
    assert await layer.read(str(visit.cookie())) == {}


async def test_clearing_ends_while_new_visitors_come(clock: ManualClock) -> None:
    class Busy(Slow):
        """A store to which a visitor comes whenever a listing begins."""

        async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
            clock.advance(1)
            await layer.begin(n=1)
            async for summary in super().scan(user_id=user_id):
                yield summary

    store = Busy(clock)
    store.go_on.set()
    layer = Layer(store, clock)
    await layer.begin(n=1)
    assert await Sessions(store, clock=clock).clear() == 3
    assert store.passes == 2


async def test_nothing_to_end_takes_two_listings(clock: ManualClock) -> None:
    store = Slow(clock)
    store.go_on.set()
    assert await Sessions(store, clock=clock).end_user("7") == 0
    assert store.passes == 2
