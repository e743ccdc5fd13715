"""The stores under test. A new backend needs an entry in `STORES` and one in `ROWS` of `promise_table`."""

from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from cartapp.session.record import Clock, Record, new_id
from cartapp.session.stores.base import Store
from cartapp.session.stores.file.store import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.registry import open_store
from cartapp.session.testing.records import HOUR as HOUR
from cartapp.session.testing.records import make_record as make_record
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT

REDIS = {
    "redis": "redis_server",
    "valkey": "valkey_server",
    "redis-sentinel": "redis_sentinels",
    "redis-cluster": "redis_cluster",
}
"""Fixture of each kind of server that the Redis store supports."""

SQL = {f"database-{name}": name for name in DATABASES}

Open = Callable[[], Store]
"""Opens a store. The stores of several calls share their sessions, as in several processes."""


def _file(request: pytest.FixtureRequest, clock: Clock) -> Open:
    folder = request.getfixturevalue("tmp_path") / "sessions"
    return lambda: FileStore(folder, clock=clock)


def _database(name: str) -> Callable[[pytest.FixtureRequest, Clock], Open]:
    def find(request: pytest.FixtureRequest, clock: Clock) -> Open:
        url = DATABASES[name](request)
        return lambda: open_store(url, clock=clock, timeout=STORE_TIMEOUT)

    return find


def _memory(request: pytest.FixtureRequest, clock: Clock) -> Open:
    store = MemoryStore(clock=clock)  # this process holds its sessions
    return lambda: store


def _memcached(request: pytest.FixtureRequest, clock: Clock) -> Open:
    server = request.getfixturevalue("memcached_server")
    server.execute(b"flush_all")
    return lambda: open_store(server.url, clock=clock, timeout=STORE_TIMEOUT)


def with_prefix(url: str) -> str:
    """Return the URL of a Redis store with a key prefix of its own."""
    return f"{url}{'&' if '?' in url else '?'}prefix={new_id()}:"


def _redis(fixture: str) -> Callable[[pytest.FixtureRequest, Clock], Open]:
    def find(request: pytest.FixtureRequest, clock: Clock) -> Open:
        url = with_prefix(request.getfixturevalue(fixture).url)
        return lambda: open_store(url, clock=clock, timeout=STORE_TIMEOUT)

    return find


def _mongodb(request: pytest.FixtureRequest, clock: Clock) -> Open:
    server = request.getfixturevalue("mongodb_server")
    server.empty()
    return lambda: open_store(server.url, clock=clock, timeout=STORE_TIMEOUT)


STORES: dict[str, Callable[[pytest.FixtureRequest, Clock], Open]] = {
    "file": _file,
    "memory": _memory,
    **{name: _database(engine) for name, engine in SQL.items()},
    "memcached": _memcached,
    "mongodb": _mongodb,
    **{name: _redis(fixture) for name, fixture in REDIS.items()},
}
"""For each backend, a function that prepares an empty store for one test; `request` provides fixtures."""

LISTABLE = ["file", "memory", "memcached", "mongodb", *SQL, *REDIS]
PURGEABLE = ["file", "memory", "mongodb", *SQL]


def file_of(folder: Path, record: Record) -> Path:
    """Return the path of a record in the file store."""
    name = urlsafe_b64decode(record.key + "==").hex()
    return folder / name[:2] / name


def files_in(folder: Path) -> list[Path]:
    """Return the names of all files in the folder and its shards."""
    return [path for path in folder.rglob("*") if not path.is_dir()]
