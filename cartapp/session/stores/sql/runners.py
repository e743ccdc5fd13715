"""Run a function on a SQLAlchemy connection without blocking the event loop.

Each runner has a bounded number of connections, and an operation waits for a free one. A cancelled operation
returns at once; its connection is returned to the pool, or closed, afterwards.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from threading import Lock, Timer
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, StatementError

if TYPE_CHECKING:  # needs greenlet, which comes with the asynchronous drivers
    from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import SessionError
from ..timeouts import SharedTimeout
from .dialects import Dialect

logger: logging.Logger = logging.getLogger("cartapp.session")

T = TypeVar("T")

_MINIMUM = 0.01  # seconds, for a response that has already arrived
_AGAIN = 0.05  # seconds until an operation is interrupted again

Operation = Callable[[Connection], T]
"""A blocking function that executes statements on a connection."""


@contextmanager
def _option_errors(dialect: Dialect) -> Iterator[None]:
    """Translate errors of SQLAlchemy's first queries on a connection to `UnusableURL`.

    They are not the driver's errors if an option of the URL changes the types of rows or cursors.
    """
    try:
        yield
    except (DBAPIError, SessionError):
        raise
    except (TypeError, ValueError, AttributeError, StatementError) as error:
        raise dialect.unsupported_option() from error


class Runner(Protocol):
    """Run operations, each on its own connection."""

    async def run(self, work: Operation[T], *, writes: bool, brief: bool, unbounded: bool = False) -> T:
        """Return the operation's result. Raises its errors and those of the driver.

        A `brief` operation is one statement on a few rows. An `unbounded` one has a timeout for connecting
        only.
        """
        ...

    async def close(self) -> None:
        """Close all connections and threads."""
        ...


class ThreadRunner:
    """For blocking drivers: one hop to a thread for each operation, not for each statement."""

    def __init__(self, engine: Engine, dialect: Dialect, threads: int) -> None:
        self._engine = engine
        self._dialect = dialect
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(self, work: Operation[T], *, writes: bool, brief: bool, unbounded: bool = False) -> T:
        """See `Runner.run`. An operation cancelled before its start is not run."""
        job = _Job(self._engine, self._dialect, work)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        except asyncio.CancelledError:
            job.abandon(self._dialect.interrupt)
            raise

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a function in a thread, without a connection."""
        return self._threads.submit(work)

    async def finish(self) -> None:
        """Wait for running operations and end the threads."""
        await asyncio.to_thread(self._threads.shutdown)

    async def close(self) -> None:
        """See `Runner.close`."""
        await self.finish()
        await asyncio.to_thread(self._close_connections)

    def _close_connections(self) -> None:
        """Close all connections within one timeout: a driver may wait for a silent server forever."""
        deadline = monotonic() + self._dialect.timeout
        timers = []

        def limit(connection: Any, _: object) -> None:
            remaining = max(deadline - monotonic(), _MINIMUM)
            timers.append(Timer(remaining, self._dialect.interrupt, (connection,)))
            timers[-1].start()

        event.listen(self._engine, "close", limit)
        self._engine.dispose()
        for timer in timers:
            timer.cancel()


class _Job:
    """An operation in a thread, which can be interrupted while it has a connection."""

    def __init__(self, engine: Engine, dialect: Dialect, work: Operation[Any]) -> None:
        self._engine = engine
        self._dialect = dialect
        self._work = work
        self._lock = Lock()
        self._connection: Any = None
        self._abandoned = False

    def __call__(self) -> Any:
        with _option_errors(self._dialect):
            connecting = self._engine.connect()
        with connecting as connection:
            with self._lock:
                if self._abandoned:
                    return None
                self._connection = connection.connection.dbapi_connection
            try:
                return self._work(connection)
            finally:
                with self._lock:  # the connection may belong to another job from here on
                    self._connection = None
                    if self._abandoned:  # the interrupt may have come after the last response
                        connection.invalidate()

    def abandon(self, interrupt: Callable[[Any], None]) -> None:
        """Interrupt the operation, to free its thread: the caller was cancelled.

        A driver may refuse to interrupt between two steps of the operation, so this is repeated until it
        works or the operation has ended. An error here would replace the cancellation.
        """
        with self._lock:
            self._abandoned = True
            if self._connection is None:
                return
            try:
                interrupt(self._connection)
            except Exception as error:  # noqa: BLE001 - of any driver
                logger.info("An operation could not be interrupted yet: %s", error)
                again = Timer(_AGAIN, self.abandon, (interrupt,))
                again.daemon = True
                again.start()


class AsyncRunner:
    """For asynchronous drivers.

    The operation runs in its own task, so that a cancelled caller does not wait for the driver to close a
    connection to a hanging server.
    """

    def __init__(self, engine: "AsyncEngine", dialect: Dialect) -> None:
        from sqlalchemy.ext.asyncio import AsyncSession

        self._engine = engine
        self._session = AsyncSession(engine)  # has no state: only its `run_sync` is used
        self._dialect = dialect
        self._connecting = SharedTimeout(dialect.timeout)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, work: Operation[T], *, writes: bool, brief: bool, unbounded: bool = False) -> T:
        """See `Runner.run`."""
        # One greenlet for the operation; an AsyncConnection uses one for each of its calls.
        task = asyncio.create_task(self._session.run_sync(lambda _: self._run(work, unbounded)))
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
        seconds = self._dialect.timeout
        while not await self._dispose(seconds):
            # A driver cancelled during close drops that connection. The others get no more time.
            seconds = _MINIMUM

    async def _dispose(self, seconds: float) -> bool:
        try:
            await SharedTimeout(seconds).wait_for(self._engine.dispose())
        except TimeoutError:
            return False
        return True

    def _run(self, work: Operation[T], unbounded: bool) -> T:
        """Connect and run the operation, where SQLAlchemy awaits the driver."""
        # The timers of the pool and the driver are off; the caller's covers connecting, if there is one.
        limit = self._connecting.limit() if unbounded else nullcontext()
        with _option_errors(self._dialect), limit:
            connecting = self._engine.sync_engine.connect()
        with connecting as connection:
            return work(connection)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would log it; a waiting caller gets it
