"""How statements are run on a database without a server: SQLite."""

import asyncio
import sqlite3
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from .dialects import Dialect
from .pace import Pace
from .runners import Threads, Work

T = TypeVar("T")

_CHECKPOINT_EVERY = 100  # brief writes, of which one goes to the thread that does SQLite's checkpoints


class Embedded:
    """Brief work is done right on the event loop where it takes no waiting, and otherwise in a thread.

    A row by its key comes from the page cache within some thirty microseconds, and goes back as fast. A
    thread would take ten times that of a busy event loop, which it has to ask for the interpreter after every
    call of SQLite. A held lock is waited for in a thread, and so is a disk that was slow just now.

    All that writes in threads shares one: the engine lets only one writer go on anyway, and there they wait
    in their order and hold up no reader.
    """

    def __init__(self, engine: Engine, dialect: Dialect, readers: int) -> None:
        self._engine = engine
        self._dialect = dialect
        self._readers = Threads(engine, dialect, readers)
        self._writer = Threads(engine, dialect, 1)
        self._here: Connection | None = None
        self._opening: Future[Connection] | None = None
        self._pace = Pace()
        self._brief_writes = 0

    async def run(self, work: Work[T], *, writes: bool, brief: bool) -> T:
        """See `Runner.run`."""
        if brief and time.monotonic() >= self._pace.slow_until and not (writes and self._is_due()):
            try:
                return self._run_here(work, self._here or await self._open())
            except DBAPIError as error:
                if self._dialect.has_refused(error):
                    self._drop()
                if not self._dialect.is_transient(error):
                    raise
        if writes:
            return await self._writer.run(partial(self._write, work), writes=writes, brief=brief)
        return await self._readers.run(work, writes=writes, brief=brief)

    async def close(self) -> None:
        """See `Runner.close`."""
        if self._opening is not None:
            with suppress(Exception):  # then there is nothing to close
                (await asyncio.wrap_future(self._opening)).close()
            self._opening = self._here = None
        await self._readers.finish()
        await self._writer.close()  # and all connections, the readers' too, when nobody has one any more

    def _write(self, work: Work[T], connection: Connection) -> T:
        result = work(connection)
        with suppress(sqlite3.Error):  # what was written is written all the same
            self._dialect.after_write(connection)
        return result

    def _run_here(self, work: Work[T], connection: Connection) -> T:
        started = time.monotonic()
        try:
            return work(connection)
        finally:
            self._pace.note(started)

    async def _open(self) -> Connection:
        """Once for all who ask; who is cancelled meanwhile leaves it to the others, on any event loop."""
        if self._opening is None:
            self._opening = self._readers.submit(self._connect)
        opening = self._opening
        try:
            self._here = await asyncio.shield(asyncio.wrap_future(opening))
        except Exception:  # the opening has failed, and the next one tries again
            if self._opening is opening:
                self._opening = None
            raise
        return self._here

    def _drop(self) -> None:
        """Close all connections that are idle.

        A file that was read-only when it was opened stays so, for a connection and for the memory that all
        of a process share, which goes with the last of them.
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
        """Whether this write is one for the thread, since a checkpoint waits for the disk."""
        self._brief_writes += 1
        return self._brief_writes % _CHECKPOINT_EVERY == 0
