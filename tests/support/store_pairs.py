"""Pairs of stores for tests of session copies, with visitors on both."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import pytest

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.admin.sessions import Sessions
from cartapp.session.record import Clock, Record, RecordOrSummary, Version, key_from_id
from cartapp.session.stores.base import Listable
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.stores import STORES, Open

T = TypeVar("T")

PAIRS = [
    "memory-memory",
    "file-redis",
    "redis-database_postgresql",
    "memcached-file",
    "database_sqlite-redis",
]
"""Source and target; see `STORES`."""


@dataclass
class StorePair:
    source: SessionLayer
    target: SessionLayer
    clock: ManualClock

    async def copy(self) -> CopyResult:
        return await copy_sessions(self.source.store, self.target.store, clock=self.clock)

    async def create_and_copy(self, **data: object) -> str:
        """Create a session in the source and copy it; return its cookie."""
        cookie = await self.source.begin(**data)
        await self.copy()
        return cookie

    async def close(self) -> None:
        await self.source.store.close()
        await self.target.store.close()


def store_openers(name: str, request: pytest.FixtureRequest, clock: Clock) -> tuple[Open, Open]:
    """Return functions that open the empty source and target of a pair; call it outside an event loop."""
    source, target = (STORES[part.replace("_", "-")](request, clock) for part in name.split("-"))
    return source, target


async def update_session(layer: SessionLayer, cookie: str, **data: object) -> None:
    session, _ = await layer.load(cookie)
    session.update(data)
    await session.save()


async def read_as_request(layer: SessionLayer, cookie: str) -> dict[str, object]:
    """Read a session as a request does, including a due keep-alive."""
    session, request_session = await layer.load(cookie)
    await request_session.finish(session, failed=False)
    return session.copy()


async def end_session(layer: SessionLayer, cookie: str) -> None:
    assert await Sessions(layer.store, clock=layer.clock).end(key_from_id(cookie))


async def rotate_session(layer: SessionLayer, cookie: str) -> str:
    """Rotate the session ID; return the new cookie."""
    session, request_session = await layer.load(cookie)
    session.regenerate()
    await session.save()
    new = request_session.cookie()
    assert new is not None
    return new


async def is_live(layer: SessionLayer, cookie: str) -> bool:
    record = await layer.store.load(key_from_id(cookie))
    return record is not None and not record.is_tombstone


async def list_keys(layer: SessionLayer, user: str | None = None) -> set[str]:
    """Return the keys of all sessions that the store lists."""
    assert isinstance(layer.store, Listable)
    return {summary.key async for summary in layer.store.scan(user_id=user)}


async def load_record(layer: SessionLayer, cookie: str) -> Record:
    record = await layer.store.load(key_from_id(cookie))
    assert record is not None
    return record


@dataclass
class CopyLoad:
    """Visitors of the source and, after the switch, of the target, with the data they must find."""

    source: SessionLayer
    target: SessionLayer
    random: Random = field(default_factory=Random)
    on_source: dict[str, int] = field(default_factory=dict)
    """Cookies last used on the source, with the number in their session."""
    on_target: dict[str, int] = field(default_factory=dict)
    """Cookies last used on the target, with the number in their session."""

    def _take(self) -> tuple[str, int] | None:
        """Remove a random cookie, so that only the caller uses it."""
        if not self.on_source:
            return None
        cookie = self.random.choice(list(self.on_source))
        return cookie, self.on_source.pop(cookie)

    async def add_visitors(self, number: int) -> None:
        for _ in range(number):
            self.on_source[await self.source.begin(n=0)] = 0

    async def visit_source(self) -> None:
        taken = self._take() if self.random.random() < 0.85 else None
        if taken is None:
            return await self.add_visitors(1)
        cookie, number = taken
        what = self.random.random()
        if what < 0.2:
            return await end_session(self.source, cookie)
        if what < 0.4:
            cookie = await rotate_session(self.source, cookie)
        else:
            number += 1
            await update_session(self.source, cookie, n=number)
        self.on_source[cookie] = number
        return None

    async def visit_target(self) -> None:
        """Visit the target after the switch, or end a session in the source as an operator."""
        taken = self._take()
        if taken is None:
            return None
        cookie, number = taken
        what = self.random.random()
        if what < 0.1:
            return await end_session(self.source, cookie)
        if not await is_live(self.target, cookie):  # not copied yet
            self.on_source[cookie] = number
            return None
        if what < 0.4:
            return await end_session(self.target, cookie)
        await update_session(self.target, cookie, m=number)
        self.on_target[await rotate_session(self.target, cookie) if what < 0.7 else cookie] = number
        return None

    async def check(self) -> None:
        """Check that no session was lost, revived or left behind."""
        expected = {key_from_id(cookie) for cookie in (*self.on_source, *self.on_target)}
        assert await list_keys(self.target) == expected
        for cookie, number in self.on_source.items():
            assert await self.target.read(cookie) == {"n": number}
        for cookie, number in self.on_target.items():
            assert (await self.target.read(cookie))["m"] == number


class ProcessKilled(Exception):
    pass


@dataclass
class CrashingProcess:
    """The calls of one copying process, which crashes before or after one of them."""

    crash_at: int = -1
    after_call: bool = False
    calls: int = 0
    crashed: bool = False

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        if self.calls == self.crash_at and self.after_call:
            await operation()
        self.crashed = self.crashed or self.calls == self.crash_at
        if self.crashed:
            raise ProcessKilled
        await asyncio.sleep(0)
        return await operation()


class CrashingStore(MemoryStore):
    """One process's view of a shared memory store."""

    def __init__(self, store: MemoryStore, process: CrashingProcess) -> None:
        super().__init__(clock=store._clock)
        self._records = store._records
        self._process = process

    async def create(self, record: Record) -> Version | None:
        return await self._process.call(lambda: MemoryStore.create(self, record))

    async def load(self, key: str) -> Record | None:
        return await self._process.call(lambda: MemoryStore.load(self, key))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return await self._process.call(lambda: MemoryStore.save(self, record, expected=expected))

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        return await self._process.call(lambda: MemoryStore.delete(self, key, expected=expected))
