"""Outages that begin in the middle of a request: of the session store, or of the accounts' database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI

from cartapp.accounts.passwords import Passwords
from cartapp.schema import DatabaseUnavailable, ShopDatabase
from cartapp.session import StoreUnavailable
from cartapp.session.record import Record, Seen, Version
from cartapp.session.stores.base import Store
from cartapp.start import store_of

from .accounts import QUICK
from .servers.redis import RedisServer, redis_binary, running
from .shop import shop_app

T = TypeVar("T")
Action = Callable[[], Awaitable[None]]


class Gate:
    """Counts the calls of an application's accounts database, and does something at one of them.

    With `is_down` every call fails.
    """

    is_down = False

    def __init__(self, database: ShopDatabase) -> None:
        self._left = -1
        self._action: Action | None = None
        self._after = False
        for name in ("run", "fetch"):
            setattr(database, name, self._passing(getattr(database, name)))

    def at(self, number: int, action: Action, *, after: bool = False) -> None:
        """Run the action before the call with this number from now on, or after its answer."""
        self._left, self._action, self._after = number, action, after

    @property
    def was_reached(self) -> bool:
        """Whether there were so many calls."""
        return self._action is None

    def disarm(self) -> None:
        """Do nothing at the calls to come."""
        self._action = None

    def _passing(self, call: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        async def passing(argument: Any) -> T:
            if self.is_down:
                raise DatabaseUnavailable("The database is down for this test.")
            action = self._next()
            if action is not None and not self._after:
                await action()
            answer = await call(argument)
            if action is not None and self._after:
                await action()
            return answer

        return passing

    def _next(self) -> Action | None:
        self._left -= 1
        if self._left >= 0 or self._action is None:
            return None
        action, self._action = self._action, None
        return action


class FaultyStore:
    """A store that fails when a test says so; with `is_lossy` it carries out what it does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name = store.name
        self.is_down = self.is_lossy = False

    async def _call(self, operation: Awaitable[T]) -> T:
        down = self.is_down
        if down and not self.is_lossy:
            operation.close()  # type: ignore[attr-defined]
            raise StoreUnavailable("The store is down for this test.")
        answer = await operation
        if down:
            raise StoreUnavailable("The answer was lost for this test.")
        return answer

    async def create(self, record: Record) -> Version | None:
        return await self._call(self._store.create(record))

    async def load(self, key: str) -> Record | None:
        return await self._call(self._store.load(key))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return await self._call(self._store.save(record, expected=expected))

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        touching = self._store.touch(key, expected=expected, last_used=last_used, expires=expires)
        return await self._call(touching)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        return await self._call(self._store.delete(key, expected=expected))

    async def ping(self) -> None:
        await self._call(self._store.ping())

    async def close(self) -> None:
        await self._store.close()

    def scan(self, *, user_id: str | None = None) -> AsyncIterator[Any]:
        if self.is_down:
            raise StoreUnavailable("The store is down for this test.")
        return self._store.scan(user_id=user_id)  # type: ignore[attr-defined,no-any-return]


@dataclass
class Place:
    """An application, and the outage of its session store."""

    app: FastAPI
    gate: Gate
    stop: Action
    start: Action
    is_definite: bool = True
    """Whether a write that fails has certainly not been stored."""
    handles: dict[str, str] = field(default_factory=dict)
    """Of sessions, by the address of their users."""


def database_file(there: Place) -> tuple[Action, Action]:
    """The outage of an embedded database: a folder takes the place of its file."""
    database = there.app.state.database
    away = database.file.with_suffix(".away")

    async def stop() -> None:
        await database.close()
        database.file.rename(away)
        database.file.mkdir()

    async def start() -> None:
        database.file.rmdir()
        away.rename(database.file)

    return stop, start


def lost_answer(there: Place) -> tuple[Action, Action]:
    """The outage of a database that has carried out what it was asked last."""

    async def stop() -> None:
        there.gate.is_down = True
        raise DatabaseUnavailable("The answer was lost for this test.")

    async def start() -> None:
        there.gate.is_down = False

    return stop, start


@contextmanager
def _file(folder: Path) -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """The folder gives way to a file."""
    sessions, away = folder / "sessions", folder / "away"

    async def stop() -> None:
        sessions.rename(away)
        sessions.write_text("This is no folder.")

    async def start() -> None:
        sessions.unlink()
        away.rename(sessions)

    yield {"session_backend": "file", "session_path": str(sessions)}, stop, start


@contextmanager
def _redis_read_only(server: RedisServer) -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """A master without its replica refuses writes."""

    async def stop() -> None:
        server.ask("CONFIG", "SET", "min-replicas-to-write", "1")

    async def start() -> None:
        server.ask("CONFIG", "SET", "min-replicas-to-write", "0")

    yield {"session_backend": "redis", "session_url": server.url}, stop, start


@contextmanager
def _redis_stopped() -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """A server whose process ends, and that keeps on disk what it has confirmed."""
    with running(redis_binary(), "appendonly yes", "appendfsync always") as server:

        async def stop() -> None:
            await asyncio.to_thread(server.server.stop)

        async def start() -> None:
            await asyncio.to_thread(server.server.start)

        yield {"session_backend": "redis", "session_url": server.url}, stop, start


BACKENDS = ("file", "redis-read-only", "redis-stopped", "database", "database-lossy", "database-postgresql")


@asynccontextmanager
async def place(
    backend: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    url: str | None = None,
    **options: str,
) -> AsyncIterator[Place]:
    """The application with these settings on this backend; password hashes are quick, attempts unlimited."""
    folder: Path = request.getfixturevalue("tmp_path")
    common = {"login_limit": "10000/minute", "database_url": url or f"sqlite:///{folder}/cart.db", **options}
    if backend.startswith("database"):
        stores: list[FaultyStore] = []

        def faulty(*arguments: Any) -> FaultyStore:
            stores.append(FaultyStore(store_of(*arguments)))
            return stores[-1]

        monkeypatch.setattr("cartapp.app.store_of", faulty)

        async def stop() -> None:
            stores[0].is_down, stores[0].is_lossy = True, backend.endswith("lossy")

        async def start() -> None:
            stores[0].is_down = False

        async with _running(stop, start, session_backend="database", **common) as found:
            found.is_definite = not backend.endswith("lossy")
            yield found
        return
    if backend == "file":
        outage = _file(folder)
    elif backend == "redis-stopped":
        outage = _redis_stopped()
    else:
        outage = _redis_read_only(request.getfixturevalue("redis_server"))
    with outage as (settings, down, up):
        async with _running(down, up, **settings, **common) as found:
            yield found


@asynccontextmanager
async def _running(stop: Action, start: Action, **settings: Any) -> AsyncIterator[Place]:
    app = shop_app(**settings)
    app.state.accounts.passwords = Passwords(QUICK)
    async with app.router.lifespan_context(app):
        await app.state.database.prepare()
        yield Place(app, Gate(app.state.database), stop, start)
