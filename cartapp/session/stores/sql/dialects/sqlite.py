"""SQLite, by the standard library's driver."""

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import URL, Connection

from ....errors import InvalidStoreURL
from ..driver_statements import CursorStatements, DriverStatements
from ..sqlite_wal import MAX_LOG, WriteAheadLog
from .base import Dialect


class SQLite(Dialect):
    """The standard library's driver: without a server, an asynchronous one has nothing to wait for.

    In WAL mode readers never wait. With `synchronous=NORMAL` a power cut may lose the last commits but never
    damages the file (sqlite.org/pragma.html#pragma_synchronous); a killed process loses none.
    """

    title = "SQLite"
    url: URL
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy",)
    driver = "pysqlite"
    driver_aliases: ClassVar[Mapping[str, str]] = {"aiosqlite": "pysqlite"}
    transient_codes: ClassVar[frozenset[object]] = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED
    reconnect_codes: ClassVar[frozenset[object]] = frozenset({8})  # SQLITE_READONLY
    begin = "BEGIN IMMEDIATE"  # takes the write lock; a later upgrade can fail
    embedded = True
    _creating = threading.Lock()
    _inode: int | None = None  # of the open file

    def __init__(self, url: URL, timeout: float) -> None:
        super().__init__(url, timeout)
        name = url.database or ":memory:"
        if name == ":memory:" or "\0" in name or url != URL.create(url.drivername, database=name):
            raise InvalidStoreURL(
                "A SQLite URL must name a file and nothing else, such as sqlite:///data/cart.db."
            )
        self._path = Path(name).absolute()
        self._log = WriteAheadLog(self._path)
        self.url = self.url.set(database=str(self._path))

    @property
    def location(self) -> str:
        """See `Dialect.location`."""
        return f"The SQLite file {self._path}"

    @property
    def engine_options(self) -> dict[str, Any]:
        """See `Dialect.engine_options`. Transactions are explicit, in the driver's autocommit mode."""
        return {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": False, "pool_use_lifo": True}

    def driver_statements(self) -> DriverStatements:
        """See `Dialect.driver_statements`."""
        return CursorStatements()

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"timeout": self.timeout, "check_same_thread": False}

    def before_connect(self) -> None:
        """Create the file and its folder, for their owner only; SQLite gives the WAL the same mode.

        Never opens an existing file: closing it would drop the locks of this process's connections
        (sqlite.org/howtocorrupt.html, 2.2). The lock is for two threads that both find no file. Raises
        `FileNotFoundError` if the file was deleted, since an empty one would not restore it.
        """
        if self._inode is not None:
            self._path.stat()
        with self._creating, suppress(FileExistsError):
            for folder in reversed(self._path.parents):
                if not folder.exists():
                    folder.mkdir(0o700, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def on_connect(self, connection: Any) -> None:
        """See `Dialect.on_connect`."""
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode == "wal":
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute(f"PRAGMA journal_size_limit={MAX_LOG}")  # when a longer log restarts
        cursor.close()
        self._inode = self._path.stat().st_ino

    @property
    def sweep_lock(self) -> Path | None:
        """See `HostLocal.sweep_lock`."""
        return self._path.with_name(f"{self._path.name}-sweeper")

    def check_file(self) -> bool:
        """See `Dialect.check_file`: SQLite itself keeps writing to a deleted file."""
        if self._inode is None or self._inode == self._path.stat().st_ino:
            return True
        self._inode = None
        return False

    def after_write(self, connection: Connection) -> None:
        """See `Dialect.after_write`."""
        self._log.bound(connection.connection.dbapi_connection, self.timeout)

    def error_codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.error_codes`: the primary result code."""
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF,)
