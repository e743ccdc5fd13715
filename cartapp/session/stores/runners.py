"""How an ordinary function on a SQLAlchemy connection is run without blocking the event loop.

Each runner has a bounded number of connections. Work that finds none free waits for one; work that is
cancelled leaves at once, and its connection is given back, or thrown away, behind it.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine

if TYPE_CHECKING:  # needs greenlet, which comes with the asynchronous drivers
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

Work = Callable[[Connection], T]
"""Ordinary, blocking code that makes statements on a connection."""


class Runner(Protocol):
    """Runs work, each time on a connection of its own."""

    async def run(self, work: Work[T], *, writes: bool) -> T:
        """What the work returns. Raises what the work raises, and the driver's errors."""
        ...

    async def close(self) -> None:
        """Give back all connections and threads."""
        ...


class Threads:
    """For drivers that block: one hop to a thread for each piece of work, not one for each statement.

    With `single_writer` all that writes shares one more thread: the engine would let only one of them go on
    anyway, and in that thread's queue they wait in their order, and hold up no reader.
    """

    def __init__(
        self, engine: Engine, threads: int, *, single_writer: bool, interrupt: Callable[[Any], None]
    ) -> None:
        self._engine = engine
        self._interrupt = interrupt
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._writer = ThreadPoolExecutor(1, "database-writer") if single_writer else self._threads

    async def run(self, work: Work[T], *, writes: bool) -> T:
        """See `Runner.run`. Cancelled before it has begun, the work is not done at all."""
        job = _Job(self._engine, work)
        try:
            threads = self._writer if writes else self._threads
            return await asyncio.get_running_loop().run_in_executor(threads, job)
        except asyncio.CancelledError:
            job.abandon(self._interrupt)
            raise

    async def close(self) -> None:
        """See `Runner.close`; waits for the work that has begun."""
        for threads in (self._threads, self._writer):
            await asyncio.to_thread(threads.shutdown)
        await asyncio.to_thread(self._engine.dispose)


class _Job:
    """One piece of work in its thread, which can be reached there while it has a connection."""

    def __init__(self, engine: Engine, work: Work[Any]) -> None:
        self._engine = engine
        self._work = work
        self._lock = threading.Lock()
        self._connection: Any = None

    def __call__(self) -> Any:
        with self._engine.connect() as connection:
            self._connection = connection.connection.dbapi_connection
            try:
                return self._work(connection)
            finally:
                with self._lock:  # from here on the connection may soon be another job's
                    self._connection = None

    def abandon(self, interrupt: Callable[[Any], None]) -> None:
        """Nobody waits for it any more: its thread is wanted back."""
        with self._lock:
            if self._connection is not None:
                interrupt(self._connection)


class Tasks:
    """For asynchronous drivers.

    The work is done in a task of its own, so that a cancelled caller need not wait while the driver takes
    leave of a server that may not answer.
    """

    def __init__(self, engine: "AsyncEngine") -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Work[T], *, writes: bool) -> T:
        """See `Runner.run`."""
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def close(self) -> None:
        """See `Runner.close`."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._engine.dispose()

    async def _run(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; nobody else shall hear of it
