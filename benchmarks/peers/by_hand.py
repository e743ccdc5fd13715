"""Sessions written by hand: one read to load, one read and one write to change, no promises.

What an application does without a session layer, on each kind of store. Concurrent changes of one session are
lost.
"""

import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Protocol

import asyncpg
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse

COOKIE, TTL = "session", 1800

_TABLE = "CREATE TABLE IF NOT EXISTS by_hand (id TEXT PRIMARY KEY, data TEXT, expires DOUBLE PRECISION)"

Data = dict[str, Any]


class _Store(Protocol):
    async def open(self) -> None: ...
    async def get(self, session_id: str) -> str | bytes | None: ...
    async def set(self, session_id: str, data: str) -> None: ...


class _RedisStore:
    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, max_connections=1000)

    async def open(self) -> None: ...

    async def get(self, session_id: str) -> bytes | None:
        found: bytes | None = await self._redis.get(f"session:{session_id}")
        return found

    async def set(self, session_id: str, data: str) -> None:
        await self._redis.set(f"session:{session_id}", data, ex=TTL)


class _FileStore:
    """One JSON file for each session; a read and a write take microseconds, so no thread is involved."""

    def __init__(self, url: str) -> None:
        self._folder = url.removeprefix("file://")

    async def open(self) -> None:
        Path(self._folder).mkdir(exist_ok=True)

    async def get(self, session_id: str) -> str | None:
        try:
            with open(self._path(session_id)) as file:  # noqa: ASYNC230, PTH123 - faster than a thread
                return file.read() if os.fstat(file.fileno()).st_mtime > time.time() - TTL else None
        except FileNotFoundError:
            return None

    async def set(self, session_id: str, data: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=self._folder)
        with open(descriptor, "w") as file:  # noqa: ASYNC230, PTH123 - as above
            file.write(data)
        os.replace(name, self._path(session_id))  # noqa: PTH105 - as above

    def _path(self, session_id: str) -> str:
        return f"{self._folder}/{sha256(session_id.encode()).hexdigest()}"  # the ID comes from outside


class _SqliteStore:
    """One connection with a thread of its own."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite:///")
        self._thread = ThreadPoolExecutor(1)

    async def open(self) -> None:
        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
            return connection

        self._connection = await asyncio.to_thread(connect)

    async def get(self, session_id: str) -> str | None:
        query = "SELECT data FROM by_hand WHERE id = ? AND expires > ?"
        rows = await self._execute(query, session_id, time.time())
        return str(rows[0][0]) if rows else None

    async def set(self, session_id: str, data: str) -> None:
        query = "INSERT OR REPLACE INTO by_hand VALUES (?, ?, ?)"
        await self._execute(query, session_id, data, time.time() + TTL)

    async def _execute(self, query: str, *values: object) -> list[Any]:
        def execute() -> list[Any]:
            return self._connection.execute(query, values).fetchall()

        return await asyncio.get_running_loop().run_in_executor(self._thread, execute)


class _PostgresStore:
    def __init__(self, url: str) -> None:
        self._url = url.replace("+asyncpg", "")

    async def open(self) -> None:
        self._pool = await asyncpg.create_pool(self._url)
        await self._pool.execute(_TABLE)

    async def get(self, session_id: str) -> str | None:
        query = "SELECT data FROM by_hand WHERE id = $1 AND expires > $2"
        found: str | None = await self._pool.fetchval(query, session_id, time.time())
        return found

    async def set(self, session_id: str, data: str) -> None:
        query = (
            "INSERT INTO by_hand VALUES ($1, $2, $3) "
            "ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires = excluded.expires"
        )
        await self._pool.execute(query, session_id, data, time.time() + TTL)


_STORES = {"redis": _RedisStore, "file": _FileStore, "sqlite": _SqliteStore, "postgresql": _PostgresStore}


def _create_store(url: str) -> _Store:
    return _STORES[url.partition(":")[0].partition("+")[0]](url)


store = _create_store(os.environ["BENCH_SESSIONS"])


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Open the store."""
    await store.open()
    yield


async def load(request: Request) -> tuple[str | None, Data]:
    """Read the session of a request: its ID, or None without one, and its data."""
    session_id = request.cookies.get(COOKIE)
    stored = await store.get(session_id) if session_id else None
    return (session_id, json.loads(stored)) if stored else (None, {})


async def save(response: JSONResponse, session_id: str | None, data: Data) -> JSONResponse:
    """Write the session, and set the cookie of a new one."""
    if session_id is None:
        session_id = token_urlsafe(32)
        response.set_cookie(COOKIE, session_id, max_age=TTL, httponly=True, samesite="lax")
    await store.set(session_id, json.dumps(data))
    return response
