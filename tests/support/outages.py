"""Outages of the session store or the accounts database in the middle of a request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from fastapi import FastAPI

from cartapp.database.shop import DatabaseUnavailable, ShopDatabase
from cartapp.session import StoreUnavailable
from cartapp.session.record import Record, RecordOrSummary, Version
from cartapp.session.stores.base import Store
from cartapp.stores import create_store
from tests.support.servers.redis import RedisServer, redis_binary, running
from tests.support.shop import shop_app

T = TypeVar("T")
Action = Callable[[], Awaitable[None]]


class DatabaseInterceptor:
    """Run an action at one call of an application's accounts database.

    With `is_down` every call fails.
    """

    is_down = False

    def __init__(self, database: ShopDatabase) -> None:
        self._left = -1
        self._action: Action | None = None
        self._after = False
        for name in ("run", "fetch"):
            setattr(database, name, self._wrap(getattr(database, name)))

    def intercept(self, number: int, action: Action, *, after: bool = False) -> None:
        """Run the action before, or after, the given call counted from now."""
        self._left, self._action, self._after = number, action, after

    @property
    def was_reached(self) -> bool:
        """Whether the intercepted call was made."""
        return self._action is None

    def disarm(self) -> None:
        """Intercept no further call."""
        self._action = None

    def _wrap(self, call: Callable[[Any], Awaitable[T]]) -> Callable[[Any], Awaitable[T]]:
        async def call_with_action(argument: Any) -> T:
            if self.is_down:
                raise DatabaseUnavailable("The database is down for this test.")
            action = self._next()
            if action is not None and not self._after:
                await action()
            result = await call(argument)
            if action is not None and self._after:
                await action()
            return result

        return call_with_action

    def _next(self) -> Action | None:
        self._left -= 1
        if self._left >= 0 or self._action is None:
            return None
        action, self._action = self._action, None
        return action


class FaultyStore:
    """A store that fails on demand; with `is_lossy` operations take effect before they fail."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name = store.name
        self.is_down = self.is_lossy = False

    async def _call(self, operation: Awaitable[T]) -> T:
        down = self.is_down
        if down and not self.is_lossy:
            operation.close()  # type: ignore[attr-defined]
            raise StoreUnavailable("The store is down for this test.")
        result = await operation
        if down:
            raise StoreUnavailable("The response was lost for this test.")
        return result

    async def create(self, record: Record) -> Version | None:
        return await self._call(self._store.create(record))

    async def load(self, key: str) -> Record | None:
        return await self._call(self._store.load(key))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return await self._call(self._store.save(record, expected=expected))

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        touching = self._store.touch(key, expected=expected, last_used=last_used, expires=expires)
        return await self._call(touching)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
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
class ShopUnderTest:
    """An application and switches for an outage of its session store."""

    app: FastAPI
    interceptor: DatabaseInterceptor
    stop: Action
    start: Action
    is_definite: bool = True
    """Whether a failed write is certain not to have been stored."""
    handles: dict[str, str] = field(default_factory=dict)
    """Session handles by e-mail address."""


def database_file_outage(target: ShopUnderTest) -> tuple[Action, Action]:
    """Return switches for an outage of an embedded database: a folder replaces its file."""
    database = target.app.state.database
    away = database.file.with_suffix(".away")

    async def stop() -> None:
        await database.close()
        database.file.rename(away)
        database.file.mkdir()

    async def start() -> None:
        database.file.rmdir()
        away.rename(database.file)

    return stop, start


def lost_response_outage(target: ShopUnderTest) -> tuple[Action, Action]:
    """Return switches for a database outage after the last statement took effect."""

    async def stop() -> None:
        target.interceptor.is_down = True
        raise DatabaseUnavailable("The response was lost for this test.")

    async def start() -> None:
        target.interceptor.is_down = False

    return stop, start


@contextmanager
def _file(folder: Path) -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """Replace the session folder by a file."""
    sessions, away = folder / "sessions", folder / "away"

    async def stop() -> None:
        sessions.rename(away)
        sessions.write_text("This is a file.")

    async def start() -> None:
        sessions.unlink()
        away.rename(sessions)

    yield {"session_backend": "file", "session_path": str(sessions)}, stop, start


@contextmanager
def _redis_read_only(server: RedisServer) -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """Make a master without replicas refuse writes."""

    async def stop() -> None:
        server.execute("CONFIG", "SET", "min-replicas-to-write", "1")

    async def start() -> None:
        server.execute("CONFIG", "SET", "min-replicas-to-write", "0")

    yield {"session_backend": "redis", "session_url": server.url}, stop, start


@contextmanager
def _redis_stopped() -> Iterator[tuple[dict[str, Any], Action, Action]]:
    """Stop a server that keeps confirmed writes on disk."""
    with running(redis_binary(), "appendonly yes", "appendfsync always") as server:

        async def stop() -> None:
            await asyncio.to_thread(server.server.stop)

        async def start() -> None:
            await asyncio.to_thread(server.server.start)

        yield {"session_backend": "redis", "session_url": server.url}, stop, start


BACKENDS = ("file", "redis-read-only", "redis-stopped", "database", "database-lossy", "database-postgresql")


@asynccontextmanager
async def shop_under_test(
    backend: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    url: str | None = None,
    **options: str,
) -> AsyncIterator[ShopUnderTest]:
    """Start the application on a backend with unlimited log-in attempts."""
    folder: Path = request.getfixturevalue("tmp_path")
    common = {"login_limit": "10000/minute", "database_url": url or f"sqlite:///{folder}/cart.db", **options}
    if backend.startswith("database"):
        stores: list[FaultyStore] = []

        def faulty(*arguments: Any) -> FaultyStore:
            stores.append(FaultyStore(create_store(*arguments)))
            return stores[-1]

        monkeypatch.setattr("cartapp.app.create_store", faulty)

        async def stop() -> None:
            stores[0].is_down, stores[0].is_lossy = True, backend.endswith("lossy")

        async def start() -> None:
            stores[0].is_down = False

        async with _run_shop(stop, start, session_backend="database", **common) as found:
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
        async with _run_shop(down, up, **settings, **common) as found:
            yield found


@asynccontextmanager
async def _run_shop(stop: Action, start: Action, **settings: Any) -> AsyncIterator[ShopUnderTest]:
    app = shop_app(**settings)
    async with app.router.lifespan_context(app):
        await app.state.database.prepare()
        yield ShopUnderTest(app, DatabaseInterceptor(app.state.database), stop, start)
