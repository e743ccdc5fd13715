"""Two stores between which sessions are copied, each with visitors of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

import pytest

from cartapp.session.record import Clock, Record, Seen, Version, key_of
from cartapp.session.sessions import Sessions
from cartapp.session.stores.base import Listable
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.transfer import Copied, copy_sessions

from .conftest import ManualClock
from .layer import Layer
from .stores import STORES, Open

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
class Pair:
    source: Layer
    target: Layer
    clock: ManualClock

    async def copy(self) -> Copied:
        return await copy_sessions(self.source.store, self.target.store, clock=self.clock)

    async def copied(self, **data: object) -> str:
        """The cookie of a session that was made in the source and copied."""
        cookie = await self.source.begin(**data)
        await self.copy()
        return cookie

    async def close(self) -> None:
        await self.source.store.close()
        await self.target.store.close()


def places_of(name: str, request: pytest.FixtureRequest, clock: Clock) -> tuple[Open, Open]:
    """What opens the source and the target of a pair, both empty; not to be called on an event loop."""
    source, target = (STORES[part.replace("_", "-")](request, clock) for part in name.split("-"))
    return source, target


async def change(layer: Layer, cookie: str, **data: object) -> None:
    session, _ = await layer.visit(cookie)
    session.update(data)
    await session.save()


async def look(layer: Layer, cookie: str) -> dict[str, object]:
    """Read a session as a request does, with the keep-alive that is due."""
    session, visit = await layer.visit(cookie)
    await visit.finish(session, failed=False)
    return session.copy()


async def end(layer: Layer, cookie: str) -> None:
    assert await Sessions(layer.store, clock=layer.clock).end(key_of(cookie))


async def rotate(layer: Layer, cookie: str) -> str:
    """Give the session a new ID; returns its new cookie."""
    session, visit = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    new = visit.cookie()
    assert new is not None
    return new


async def is_live(layer: Layer, cookie: str) -> bool:
    record = await layer.store.load(key_of(cookie))
    return record is not None and not record.is_tombstone


async def listed(layer: Layer, user: str | None = None) -> set[str]:
    """The keys of the sessions that the store lists."""
    assert isinstance(layer.store, Listable)
    return {summary.key async for summary in layer.store.scan(user_id=user)}


async def record_of(layer: Layer, cookie: str) -> Record:
    record = await layer.store.load(key_of(cookie))
    assert record is not None
    return record


@dataclass
class Crowd:
    """Visitors of the source and, once they have moved, of the target; and what they must find."""

    source: Layer
    target: Layer
    random: Random = field(default_factory=Random)
    staying: dict[str, int] = field(default_factory=dict)
    """The cookies of those who used the source last, with the number in their session."""
    moved: dict[str, int] = field(default_factory=dict)
    """The same for the target."""

    def _take(self) -> tuple[str, int] | None:
        """One cookie at random, for one visitor alone."""
        if not self.staying:
            return None
        cookie = self.random.choice(list(self.staying))
        return cookie, self.staying.pop(cookie)

    async def arrive(self, number: int) -> None:
        for _ in range(number):
            self.staying[await self.source.begin(n=0)] = 0

    async def visit_source(self) -> None:
        taken = self._take() if self.random.random() < 0.85 else None
        if taken is None:
            return await self.arrive(1)
        cookie, number = taken
        what = self.random.random()
        if what < 0.2:
            return await end(self.source, cookie)
        if what < 0.4:
            cookie = await rotate(self.source, cookie)
        else:
            number += 1
            await change(self.source, cookie, n=number)
        self.staying[cookie] = number
        return None

    async def visit_target(self) -> None:
        """A visit after the switch, and now and then an operator who ends a session in the source."""
        taken = self._take()
        if taken is None:
            return None
        cookie, number = taken
        what = self.random.random()
        if what < 0.1:
            return await end(self.source, cookie)
        if not await is_live(self.target, cookie):  # it is still to be copied
            self.staying[cookie] = number
            return None
        if what < 0.4:
            return await end(self.target, cookie)
        await change(self.target, cookie, m=number)
        self.moved[await rotate(self.target, cookie) if what < 0.7 else cookie] = number
        return None

    async def check(self) -> None:
        """Nothing is lost, nothing came back, and nothing lives on."""
        expected = {key_of(cookie) for cookie in (*self.staying, *self.moved)}
        assert await listed(self.target) == expected
        for cookie, number in self.staying.items():
            assert await self.target.read(cookie) == {"n": number}
        for cookie, number in self.moved.items():
            assert (await self.target.read(cookie))["m"] == number


class Killed(Exception):
    pass


@dataclass
class Process:
    """The calls of one copying process; it dies at one of them, before or after that is carried out."""

    dies_at: int = -1
    afterwards: bool = False
    calls: int = 0
    dead: bool = False

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        self.calls += 1
        if self.calls == self.dies_at and self.afterwards:
            await operation()
        self.dead = self.dead or self.calls == self.dies_at
        if self.dead:
            raise Killed
        await asyncio.sleep(0)
        return await operation()


class Watched(MemoryStore):
    """What a process sees of a memory store that others use as well."""

    def __init__(self, store: MemoryStore, process: Process) -> None:
        super().__init__(clock=store._clock)
        self._records = store._records
        self._process = process

    async def create(self, record: Record) -> Version | None:
        return await self._process.call(lambda: MemoryStore.create(self, record))

    async def load(self, key: str) -> Record | None:
        return await self._process.call(lambda: MemoryStore.load(self, key))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return await self._process.call(lambda: MemoryStore.save(self, record, expected=expected))

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        return await self._process.call(lambda: MemoryStore.delete(self, key, expected=expected))
