"""How an ordinary function on a SQLAlchemy connection is run without blocking the event loop.

Each runner has a bounded number of connections. Work that finds none free waits for one; work that is
cancelled leaves at once, and its connection is given back, or thrown away, behind it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from threading import Lock, Timer
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event

if TYPE_CHECKING:  # needs greenlet, which comes with the asynchronous drivers
    from sqlalchemy.ext.asyncio import AsyncEngine

from .dialects import Dialect
from .timeouts import SharedTimeout

T = TypeVar("T")

_NO_MORE = 0.01  # seconds: time for an answer that is there already

Work = Callable[[Connection], T]
"""Ordinary, blocking code that makes statements on a connection."""


class Runner(Protocol):
    """Runs work, each time on a connection of its own."""

    async def run(self, work: Work[T], *, writes: bool, brief: bool) -> T:
        """What the work returns. Raises what the work raises, and the driver's errors.

        `brief` work is one statement that looks at a few rows.
        """
        ...

    async def close(self) -> None:
        """Give back all connections and threads."""
        ...


class Threads:
    """For drivers that block: one hop to a thread for each piece of work, not one for each statement."""

    def __init__(self, engine: Engine, dialect: Dialect, threads: int) -> None:
        self._engine = engine
        self._dialect = dialect
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(self, work: Work[T], *, writes: bool, brief: bool) -> T:
        """See `Runner.run`. Cancelled before it has begun, the work is not done at all."""
        job = _Job(self._engine, work)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except asyncio.CancelledError:
            job.abandon(self._dialect.interrupt)
            raise

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Begin something in a thread that looks after its connection itself."""
        return self._threads.submit(work)

    async def finish(self) -> None:
        """Wait for the work that has begun, and end the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    async def close(self) -> None:
        """See `Runner.close`."""
        await self.finish()
        await asyncio.to_thread(self._close_connections)

    def _close_connections(self) -> None:
        """All of them within one time-out: a driver may take leave of a silent server without end."""
        deadline = monotonic() + self._dialect.timeout
        limits = []

        def limit(connection: Any, _: object) -> None:
            patience = max(deadline - monotonic(), _NO_MORE)
            limits.append(Timer(patience, self._dialect.interrupt, (connection,)))
            limits[-1].start()

        event.listen(self._engine, "close", limit)
        self._engine.dispose()
        for each in limits:
            each.cancel()


class _Job:
    """One piece of work in its thread, which can be reached there while it has a connection."""

    def __init__(self, engine: Engine, work: Work[Any]) -> None:
        self._engine = engine
        self._work = work
        self._lock = Lock()
        self._connection: Any = None
        self._abandoned = False

    def __call__(self) -> Any:
        with self._engine.connect() as connection:
            with self._lock:
                if self._abandoned:
                    return None
                self._connection = connection.connection.dbapi_connection
            try:
                return self._work(connection)
            finally:
                with self._lock:  # from here on the connection may soon be another job's
                    self._connection = None

    def abandon(self, interrupt: Callable[[Any], None]) -> None:
        """Nobody waits for it any more: its thread is wanted back."""
        with self._lock:
            self._abandoned = True
            if self._connection is not None:
                interrupt(self._connection)


class Tasks:
    """For asynchronous drivers.

    The work is done in a task of its own, so that a cancelled caller need not wait while the driver takes
    leave of a server that may not answer.
    """

    def __init__(self, engine: "AsyncEngine", dialect: Dialect) -> None:
        self._engine = engine
        self._dialect = dialect
        self._connecting = SharedTimeout(dialect.timeout)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Work[T], *, writes: bool, brief: bool) -> T:
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
        patience = self._dialect.timeout
        while not await self._disposed(patience):
            # A driver that is cancelled as it takes leave drops that connection. The rest shall wait no more.
            patience = _NO_MORE

    async def _disposed(self, patience: float) -> bool:
        try:
            await SharedTimeout(patience).wait_for(self._engine.dispose())
        except TimeoutError:
            return False
        return True

    async def _run(self, work: Work[T]) -> T:
        async with AsyncExitStack() as stack:
            # For a place in the pool as well as for a new connection: the timers of both are off.
            connecting = stack.enter_async_context(self._engine.connect())
            connection = await self._connecting.wait_for(connecting)
            return await connection.run_sync(work)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits has it; nobody else shall hear of it
