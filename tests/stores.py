"""The stores under test. A new backend is one more entry of `STORES`."""

from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cartapp.session.record import Clock, Record, key_of, new_id
from cartapp.session.stores.base import Store
from cartapp.session.stores.engine import Database
from cartapp.session.stores.file import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.sql import SqlStore

Open = Callable[[], Store]
"""Opens one place's store; the stores of several calls share what they hold, as several processes do."""


def _file(request: pytest.FixtureRequest, clock: Clock) -> Open:
    folder = request.getfixturevalue("tmp_path") / "sessions"
    return lambda: FileStore(folder, clock=clock)


def _sqlite(request: pytest.FixtureRequest, clock: Clock) -> Open:
    url = f"sqlite:///{request.getfixturevalue('tmp_path')}/cart.db"
    return lambda: SqlStore(Database(url), clock=clock)


def _memory(request: pytest.FixtureRequest, clock: Clock) -> Open:
    store = MemoryStore(clock=clock)  # its place is this process
    return lambda: store


STORES: dict[str, Callable[[pytest.FixtureRequest, Clock], Open]] = {
    "file": _file,
    "memory": _memory,
    "database-sqlite": _sqlite,
}
"""For each backend a function that finds an empty place for one test; `request` gives it other fixtures."""

LISTABLE = ["file", "memory", "database-sqlite"]
PURGEABLE = ["file", "memory", "database-sqlite"]

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
