"""End many sessions while some of them are rotated."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from cartapp.session import Sessions
from cartapp.session.record import Summary, summarize
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


class Slow(MemoryStore):
    """A store that lists the keys first and loads each one later, as Redis does."""

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
                yield summarize(record)


@pytest.mark.parametrize("user", ["7", None])
async def test_end_user_finds_a_session_rotated_during_the_listing(
    clock: ManualClock, user: str | None
) -> None:
    store = Slow(clock)
    layer = SessionLayer(store, clock)
    session, request_session = await layer.load()
    session["cart"] = [1]
    session.log_in("7")
    await session.save()
    session, request_session = await layer.load(request_session.cookie())
    sessions = Sessions(store, clock=clock)
    ending = asyncio.create_task(sessions.end_user(user) if user else sessions.clear())
    await store.has_keys.wait()
    session.regenerate()
    await session.save()
    store.go_on.set()
    assert await ending == 1
    assert await layer.read(str(request_session.cookie())) == {}


async def test_clear_terminates_while_new_sessions_are_created(clock: ManualClock) -> None:
    class Busy(Slow):
        """A store with a new session at the start of every listing."""

        async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
            clock.advance(1)
            await layer.begin(n=1)
            async for summary in super().scan(user_id=user_id):
                yield summary

    store = Busy(clock)
    store.go_on.set()
    layer = SessionLayer(store, clock)
    await layer.begin(n=1)
    assert await Sessions(store, clock=clock).clear() == 3
    assert store.passes == 2


async def test_clear_without_sessions_lists_twice(clock: ManualClock) -> None:
    store = Slow(clock)
    store.go_on.set()
    assert await Sessions(store, clock=clock).end_user("7") == 0
    assert store.passes == 2


async def test_end_idle_spares_a_session_used_after_the_listing(clock: ManualClock) -> None:
    class Used(MemoryStore):
        """A store where a request uses a session between the listing and the deletion."""

        async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
            listed = [summary async for summary in super().scan(user_id=user_id)]
            used = listed[0]
            await self.touch(used.key, expected=used.version, last_used=clock.now, expires=used.expires)
            for summary in listed:
                yield summary

    store = Used(clock=clock)
    layer = SessionLayer(store, clock)
    for number in range(3):
        await layer.begin(n=number)
    clock.advance(400)
    ended: list[int] = []
    idle = timedelta(minutes=5)
    number = await Sessions(store, clock=clock).end_idle(idle, step=timedelta(0), progress=ended.append)
    assert (number, ended[-1]) == (2, 2)
    assert len([found async for found in MemoryStore.scan(store)]) == 1
