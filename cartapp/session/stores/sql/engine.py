"""A SQL database for coroutines: short transactions, bounded connections and clear errors."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from time import monotonic
from typing import Any, Protocol, TypeVar, TypeVarTuple

from sqlalchemy import Connection, Engine, Row, create_engine, event
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql.base import Executable

from ...errors import (
    InvalidStoreURL,
    MissingDriver,
    SessionError,
    StoreTimeout,
    StoreUnavailable,
    UnusableURL,
)
from ..backend import install_command
from ..per_loop import PerLoop
from ..timeouts import TIMED_OUT, SharedTimeout
from .dialects import Dialect, dialect_from_url
from .masking import mask
from .pool_invalidation import PoolInvalidation
from .runners import AsyncRunner, Operation, Runner, ThreadRunner
from .sqlite_runner import EmbeddedRunner

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Values = Mapping[str, Any]
"""A statement's parameters by name."""

Rows = Sequence[Row[*tuple[Any, ...]]]


class Pool(Protocol):
    """The pool of a runner's connections."""

    def invalidate(self) -> None:
        """Replace all present connections before their next use."""
        ...

    def confirm_write(self, connection: Connection) -> None:
        """Note that a write succeeded on a connection."""
        ...

    @property
    def in_use(self) -> int:
        """The number of connections that run an operation."""
        ...


CreateRunner = Callable[[Dialect, int], tuple[Runner, Pool]]
"""Create a runner with this number of connections."""

_ATTEMPTS = 40  # of a transaction that the engine rolls back in favour of another
_LONGEST_PAUSE = 0.1  # seconds between two attempts
_EMBEDDED_READERS = 4  # threads; more would mostly wait for the interpreter lock
_BULK_TIMEOUT = 30.0  # seconds for a statement that goes through many rows


class Database:
    """One database of a process. It connects on first use, on each event loop that uses it.

    Suspect connections are replaced; see `pool_invalidation`.

    `pool_size` is the number of connections. Each call, with its wait for a connection, has `timeout` seconds
    and raises `StoreTimeout` afterwards. An operation that lost its connection before it can have changed
    anything is repeated on a new one. SQLAlchemy's `IntegrityError` passes; every other driver error becomes
    `StoreUnavailable`.

    Raises `InvalidStoreURL`, and `MissingDriver` with the command that installs the driver.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        timeout: float = 2.0,
        create_runner: "CreateRunner | None" = None,
    ) -> None:
        self.dialect: Dialect = dialect_from_url(url, timeout)
        # The engine of an application may have its database from elsewhere, such as `connect_args`.
        if self.dialect.needs_database and not (self.dialect.url.database or create_runner):
            raise InvalidStoreURL(self.dialect.no_database)
        self._timeout = timeout
        self._limit = SharedTimeout(timeout)
        self._bulk_limit = SharedTimeout(_BULK_TIMEOUT)
        self._runners = PerLoop(
            partial(create_runner or _runner, self.dialect, pool_size),
            _close,
            early=True,  # finds a missing driver
        )
        # Events of an engine of the application see all its statements.
        self._direct = None if create_runner else self.dialect.driver_statements()

    def is_same_as(self, url: str) -> bool:
        """Whether a URL names this database, with or without a driver. Raises `InvalidStoreURL`."""
        return dialect_from_url(url, self._timeout).url == self.dialect.url

    @property
    def connections_in_use(self) -> int:
        """The number of pooled connections that run an operation."""
        return sum(pool.in_use for _, pool in self._runners.values())

    @property
    def _runner(self) -> Runner:
        return self._runners.get()[0]

    @property
    def _pool(self) -> Pool:
        return self._runners.get()[1]

    async def fetch(
        self, statement: Executable, values: Values | None = None, *, direct: bool = False
    ) -> Rows:
        """Return the rows of a query that finds a few. For `direct` see `driver_statements`."""
        execute = self._executor(direct)

        def query(connection: Connection) -> Rows:
            rows: Rows = execute(connection, statement, values).fetchall()
            return rows

        return await self._retry(lambda _: self._runner.run(query, writes=False, brief=True), self._limit)

    async def read(self, operation: Operation[T], *, bulk: bool = False) -> T:
        """Run queries and return the operation's result. `bulk` allows it 30 seconds."""
        return await self._retry(
            lambda _: self._runner.run(operation, writes=False, brief=False),
            self._bulk_limit if bulk else self._limit,
        )

    async def execute(
        self, statement: Executable, values: Values | None = None, *, direct: bool = False
    ) -> int:
        """Execute one statement in its own transaction and return the number of rows that it found."""
        await self._check_file()
        execute, pool = self._executor(direct), self._pool

        def write(connection: Connection, progress: _Attempt) -> int:
            progress.commits = self.dialect.autocommit
            rows: int = execute(connection, statement, values).rowcount
            if not self.dialect.autocommit:
                progress.commits = True
                connection.commit()
            pool.confirm_write(connection)
            return rows

        return await self._retry(
            lambda progress: self._runner.run(partial(write, progress=progress), writes=True, brief=True),
            self._limit,
        )

    async def run(
        self, operation: Operation[T], *, bulk: bool = False, unbounded: bool = False, locked: bool = False
    ) -> T:
        """Run several statements in one transaction and return the operation's result.

        Keep it short and free of side effects: it is repeated when the engine rolls it back in favour of
        another transaction (deadlock, serialization failure). `bulk` allows it 30 seconds. An `unbounded`
        operation may take any time, and wait as long for others. `locked` operations, which change the
        schema, run one at a time in a database.
        """
        await self._check_file()
        begin = self.dialect.locked_transaction if locked else self.dialect.transaction
        pool = self._pool

        def transaction(connection: Connection, progress: _Attempt) -> T:
            with begin(connection):
                result = operation(connection)
                progress.commits = True
            pool.confirm_write(connection)
            return result

        limit = self._bulk_limit if bulk else self._limit
        return await self._retry(
            lambda progress: self._runner.run(
                partial(transaction, progress=progress), writes=True, brief=False, unbounded=unbounded
            ),
            None if unbounded else limit,
        )

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Bound several operations, and waits between them, by one timeout. Raises `StoreTimeout`."""
        try:
            with self._limit.limit():
                yield
        except TimeoutError as error:
            raise self._late(self._limit) from error

    async def _check_file(self) -> None:
        try:
            if not self.dialect.check_file():
                await self.close()  # the next connection opens the new file
        except OSError as error:
            raise self._unavailable(error) from error

    def _executor(self, direct: bool) -> Callable[..., Any]:
        return self._direct.execute if direct and self._direct else Connection.execute

    async def close(self) -> None:
        """Close the connections and threads of this event loop. Used again, it reconnects."""
        await self._runners.close()

    async def _retry(self, attempt: Callable[["_Attempt"], Awaitable[T]], limit: SharedTimeout | None) -> T:
        if limit is None:
            return await self._run_attempts(attempt, math.inf)
        try:
            with limit.limit():
                return await self._run_attempts(attempt, asyncio.get_running_loop().time() + self._timeout)
        except TimeoutError as error:
            raise self._late(limit) from error

    async def _run_attempts(self, attempt: Callable[["_Attempt"], Awaitable[T]], deadline: float) -> T:
        was_lost = False
        for number in range(1, _ATTEMPTS + 1):
            progress = _Attempt()
            try:
                return await attempt(progress)
            except IntegrityError:
                raise
            except asyncio.CancelledError as error:
                if error.args == (TIMED_OUT,):
                    self._pool.invalidate()
                raise
            except (DBAPIError, PoolTimeout, OSError) as error:
                refused = isinstance(error, DBAPIError) and self.dialect.needs_reconnect(error)
                if refused or isinstance(error, TimeoutError):
                    self._pool.invalidate()
                if (cause := _cause(error)) is not None and self.dialect.is_duplicate_key(cause):
                    raise IntegrityError(None, None, cause) from error
                pause = random.uniform(0, min(0.005 * 2**number, _LONGEST_PAUSE))  # noqa: S311
                # The first attempt may be late because the event loop was blocked.
                late = number > 1 and asyncio.get_running_loop().time() + pause > deadline
                lost = refused or (
                    isinstance(error, DBAPIError) and error.connection_invalidated and not progress.commits
                )
                may_try_again = self._is_transient(error) or (lost and not was_lost)
                if late or number == _ATTEMPTS or not may_try_again:
                    raise self._unavailable(error) from error
                was_lost = was_lost or lost
            await asyncio.sleep(pause)
        raise AssertionError("The last attempt has returned or raised.")

    def _is_transient(self, error: Exception) -> bool:
        return isinstance(error, DBAPIError) and self.dialect.is_transient(error)

    def _late(self, limit: SharedTimeout) -> StoreTimeout:
        return StoreTimeout(f"{self.dialect.location} did not respond within {limit.seconds:g} seconds.")

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        kind = StoreTimeout if isinstance(error, TimeoutError) else StoreUnavailable
        return kind(f"{self.dialect.location} cannot be used: {self._reason(error)}.")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, (TimeoutError, PoolTimeout)):
            return "it did not respond in time"
        cause = _cause(error)
        message = self.dialect.message(cause) if cause else getattr(error, "strerror", None) or str(error)
        return _without_password(message.strip() or type(cause or error).__name__, self.dialect)


@dataclass(slots=True)
class _Attempt:
    """The state of one attempt."""

    commits: bool = False
    """Whether the change may have been committed even without a response."""


def _cause(error: Exception) -> BaseException | None:
    """Return the driver's own error, if it is one."""
    return error.orig if isinstance(error, DBAPIError) else None


async def _close(opened: tuple[Runner, Pool]) -> None:
    await opened[0].close()


def _runner(dialect: Dialect, pool_size: int) -> tuple[Runner, Pool]:
    try:
        return _make_runner(dialect, pool_size)
    except ImportError as error:
        raise _missing(dialect) from error
    except NoSuchModuleError as error:
        if dialect.driver in dialect.url.drivername:
            raise _missing(dialect) from error
        raise InvalidStoreURL(f"There is no SQLAlchemy driver {dialect.url.drivername}.") from None
    except (ArgumentError, ValueError):  # an option of SQLAlchemy
        raise InvalidStoreURL(f"The {dialect.title} database's URL cannot be read.") from None


def _make_runner(dialect: Dialect, pool_size: int) -> tuple[Runner, PoolInvalidation]:
    options: dict[str, Any] = {
        "connect_args": dialect.connect_args(),
        "hide_parameters": True,  # they would show sessions in tracebacks
        **dialect.engine_options,
    }
    if dialect.is_async:
        import_module("greenlet")  # SQLAlchemy reports it missing on its first import only
        from sqlalchemy.ext.asyncio import create_async_engine

        asynchronous = create_async_engine(
            dialect.url, **options, pool_size=pool_size, max_overflow=0, pool_timeout=None
        )
        return AsyncRunner(asynchronous, dialect), _set_up(asynchronous.sync_engine, dialect)
    threads = min(pool_size, _EMBEDDED_READERS) if dialect.embedded else pool_size
    connections = threads + 2 * dialect.embedded  # a writer's, and the event loop's
    engine = create_engine(dialect.url, **options, pool_size=connections, max_overflow=0)
    trust = _set_up(engine, dialect)
    return (EmbeddedRunner if dialect.embedded else ThreadRunner)(engine, dialect, threads), trust


def _set_up(engine: Engine, dialect: Dialect) -> PoolInvalidation:
    dialect.configure(engine)
    making = _ConnectErrors(engine)
    event.listen(
        engine, "do_connect", lambda driver, _, *given: making.run(_connect, dialect, driver, *given)
    )
    event.listen(engine, "connect", lambda connection, _: making.run(dialect.on_connect, connection))
    return PoolInvalidation(engine)


class _ConnectErrors:
    """Translate any error of a driver during connect to `ConnectionError`.

    If the server goes away during connect, some drivers raise errors that are not those of DB-API: asyncpg
    `InternalClientError`, asyncmy `RuntimeError`.
    """

    def __init__(self, engine: Engine) -> None:
        self._passed = (engine.dialect.loaded_dbapi.Error, OSError, SessionError)

    def run(self, make: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return make(*args)
        except self._passed:
            raise
        except Exception as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error


def _connect(dialect: Dialect, driver: EngineDialect, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Connect. Raises the driver's errors, and TimeoutError for one that reports the end of its timeout.

    That timer is as long as the caller's, and either may end first.
    """
    dialect.before_connect()
    started = monotonic()
    try:
        return driver.connect(*args, **options)
    except driver.loaded_dbapi.Error as error:
        if monotonic() - started < dialect.timeout:
            raise
        raise TimeoutError from error
    except (KeyError, OSError) as error:
        if (sentence := dialect.local_problem(error)) is None:
            raise
        raise UnusableURL(sentence) from error
    except (TypeError, ValueError) as error:  # an unknown option, or an invalid host name
        message = _without_password(str(error) or type(error).__name__, dialect)
        raise UnusableURL(f"The {dialect.title} driver cannot take the database's URL: {message}.") from error


def _without_password(message: str, dialect: Dialect) -> str:
    """Return the first line of a driver's message without the password."""
    return mask(message, str(dialect.url.password or "")).splitlines()[0].rstrip(".")


def _missing(dialect: Dialect) -> MissingDriver:
    line = install_command(dialect.packages)
    name, _, driver = dialect.url.drivername.partition("+")
    if driver == dialect.driver:
        return MissingDriver(f"The driver for {dialect.title} is missing: {line}")
    return MissingDriver(f"The driver {driver} is missing; {name}:// without a name uses another one: {line}")
