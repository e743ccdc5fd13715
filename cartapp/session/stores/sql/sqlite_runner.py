"""Run operations on SQLite, a database without a server."""

import asyncio
import sqlite3
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ..disk_latency import DiskLatency
from .dialects import Dialect
from .runners import Operation, ThreadRunner

T = TypeVar("T")

_CHECKPOINT_EVERY = 100  # brief writes between those that run in the thread of SQLite's checkpoints


class EmbeddedRunner:
    """Run brief operations on the event loop if they do not wait, and otherwise in a thread.

    Reading or writing a row by its key takes about 30 microseconds with the page cache. A thread would cost a
    busy event loop ten times as much, since it competes for the interpreter lock after every call of SQLite.
    A held lock is waited for in a thread, and so is a disk that was slow in the last second.

    All writes in threads share one thread: SQLite allows one writer at a time, and they wait there in order
    without blocking a reader.
    """

    def __init__(self, engine: Engine, dialect: Dialect, readers: int) -> None:
        self._engine = engine
        self._dialect = dialect
        self._readers = ThreadRunner(engine, dialect, readers)
        self._writer = ThreadRunner(engine, dialect, 1)
        self._here: Connection | None = None
        self._opening: Future[Connection] | None = None
        self._latency = DiskLatency()
        self._brief_writes = 0

    async def run(self, work: Operation[T], *, writes: bool, brief: bool, unbounded: bool = False) -> T:
        """See `Runner.run`."""
        if brief and time.monotonic() >= self._latency.slow_until and not (writes and self._is_due()):
            try:
                return self._run_here(work, self._here or await self._open())
            except DBAPIError as error:
                if self._dialect.needs_reconnect(error):
                    self._drop()
                if not self._dialect.is_transient(error):
                    raise
        if writes:
            return await self._writer.run(partial(self._write, work), writes=writes, brief=brief)
        return await self._readers.run(work, writes=writes, brief=brief)

    async def close(self) -> None:
        """See `Runner.close`."""
        if self._opening is not None:
            with suppress(Exception):  # nothing was opened
                (await asyncio.wrap_future(self._opening)).close()
            self._opening = self._here = None
        await self._readers.finish()
        await self._writer.close()  # and all connections, once none is in use

    def _write(self, work: Operation[T], connection: Connection) -> T:
        result = work(connection)
        with suppress(sqlite3.Error):  # the write itself succeeded
            self._dialect.after_write(connection)
        return result

    def _run_here(self, work: Operation[T], connection: Connection) -> T:
        started = time.monotonic()
        try:
            return work(connection)
        finally:
            self._latency.record(started)

    async def _open(self) -> Connection:
        """Open the connection once for all callers; a cancelled caller does not cancel it for the others."""
        if self._opening is None:
            self._opening = self._readers.submit(self._connect)
        opening = self._opening
        try:
            self._here = await asyncio.shield(asyncio.wrap_future(opening))
        except Exception:  # the next call tries again
            if self._opening is opening:
                self._opening = None
            raise
        return self._here

    def _drop(self) -> None:
        """Close all idle connections.

        A file opened read-only stays so for a connection, and for the shared memory of the process, which is
        released with its last connection.
        """
        if self._here is not None:
            self._here.invalidate()
            self._here.close()
        self._opening = self._here = None
        self._engine.dispose()

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        connection.exec_driver_sql("PRAGMA busy_timeout=0")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint=0")
        return connection

    def _is_due(self) -> bool:
        """Whether this write runs in the thread, since a checkpoint waits for the disk."""
        self._brief_writes += 1
        return self._brief_writes % _CHECKPOINT_EVERY == 0
