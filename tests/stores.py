"""The stores under test. A new backend is one more entry of `STORES`."""

from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cartapp.session.record import Clock, Record, key_of, new_id
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.file import FileStore
from cartapp.session.stores.memory import MemoryStore

from .databases import DATABASES
from .waiting import PATIENCE

REDIS = {
    "redis": "redis_server",
    "valkey": "valkey_server",
    "redis-sentinel": "redis_sentinels",
    "redis-cluster": "redis_cluster",
}
"""The fixture of each kind of server that the Redis store talks to."""

SQL = {f"database-{name}": name for name in DATABASES}

Open = Callable[[], Store]
"""Opens one place's store; the stores of several calls share what they hold, as several processes do."""


def _file(request: pytest.FixtureRequest, clock: Clock) -> Open:
    folder = request.getfixturevalue("tmp_path") / "sessions"
    return lambda: FileStore(folder, clock=clock)


def _database(name: str) -> Callable[[pytest.FixtureRequest, Clock], Open]:
    def find(request: pytest.FixtureRequest, clock: Clock) -> Open:
        url = DATABASES[name](request)
        return lambda: open_store(url, clock=clock, timeout=PATIENCE)

    return find


def _memory(request: pytest.FixtureRequest, clock: Clock) -> Open:
    store = MemoryStore(clock=clock)  # its place is this process
    return lambda: store


def _memcached(request: pytest.FixtureRequest, clock: Clock) -> Open:
    server = request.getfixturevalue("memcached_server")
    server.ask(b"flush_all")
    return lambda: open_store(server.url, clock=clock, timeout=PATIENCE)


def with_prefix(url: str) -> str:
    """The URL of a Redis store with keys of its own."""
    return f"{url}{'&' if '?' in url else '?'}prefix={new_id()}:"


def _redis(fixture: str) -> Callable[[pytest.FixtureRequest, Clock], Open]:
    def find(request: pytest.FixtureRequest, clock: Clock) -> Open:
        url = with_prefix(request.getfixturevalue(fixture).url)
        return lambda: open_store(url, clock=clock, timeout=PATIENCE)

    return find


def _mongodb(request: pytest.FixtureRequest, clock: Clock) -> Open:
    server = request.getfixturevalue("mongodb_server")
    server.empty()
    return lambda: open_store(server.url, clock=clock, timeout=PATIENCE)


STORES: dict[str, Callable[[pytest.FixtureRequest, Clock], Open]] = {
    "file": _file,
    "memory": _memory,
    **{name: _database(engine) for name, engine in SQL.items()},
    "memcached": _memcached,
    "mongodb": _mongodb,
    **{name: _redis(fixture) for name, fixture in REDIS.items()},
}
"""For each backend a function that finds an empty place for one test; `request` gives it other fixtures."""

LISTABLE = ["file", "memory", "memcached", "mongodb", *SQL, *REDIS]
PURGEABLE = ["file", "memory", "mongodb", *SQL]

HOUR = 3_600_000


def make_record(now: int, **fields: Any) -> Record:
    """A record of a new session that lives for an hour."""
    defaults = {"key": key_of(new_id()), "created": now, "last_used": now, "expires": now + HOUR}
    return Record(**{**defaults, "data": b'{"cart":[]}', **fields})


def file_of(folder: Path, record: Record) -> Path:
    """Where the file store has the record, or would have it."""
    name = urlsafe_b64decode(record.key + "==").hex()
    return folder / name[:2] / name


def files_in(folder: Path) -> list[Path]:
    """Everything that the folder and its shards hold."""
    return [path for path in folder.rglob("*") if not path.is_dir()]
