"""A SQL database for coroutines: short transactions on a bounded number of connections, and clear errors."""

import asyncio
import math
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import Connection, Engine, Row, create_engine, event
from sqlalchemy.engine.interfaces import Dialect as EngineDialect
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql.base import Executable

from ..errors import InvalidStoreURL, MissingDriver, SessionError, StoreUnavailable, UnusableURL
from .dialects import Dialect, dialect_of
from .embedded import Embedded
from .plain import PlainStatements
from .runners import Runner, Tasks, Threads, Work
from .timeouts import TIMED_OUT, SharedTimeout
from .trust import PoolTrust

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Values = Mapping[str, Any]
"""A statement's parameters by name."""

Rows = Sequence[Row[*tuple[Any, ...]]]

_ATTEMPTS = 40  # at a transaction that the engine rolls back for the sake of another
_LONGEST_PAUSE = 0.1  # seconds between two of them
_EMBEDDED_READERS = 4  # threads; with more of them they would mostly wait for the interpreter's lock
_LAST_RESORT = 30.0  # seconds after which a connection is given up that nobody else has a time-out for


class Database:
    """One database for a process. It connects when first used, on the event loop that uses it.

    A connection is used again only as long as it works; see `trust`.

    `pool_size` is the number of connections; whoever finds none free waits up to `timeout` seconds. Work that
    only now shows that its connection was lost, and can have changed nothing yet, is done on a new one.
    SQLAlchemy's `IntegrityError` passes; every other error of the driver becomes `StoreUnavailable`.

    Raises `InvalidStoreURL`, and `MissingDriver` with the line that installs it.
    """

    def __init__(self, url: str, *, pool_size: int = 10, timeout: float = 2.0) -> None:
        self.dialect = dialect_of(url, timeout)
        self._timeout = timeout
        self._pool_size = pool_size
        self._last_resort = SharedTimeout(_LAST_RESORT)
        self._plain = PlainStatements()
        self._runner, self._trust = _runner(self.dialect, pool_size)

    def is_at(self, url: str) -> bool:
        """Whether a URL is this database too, with the driver's name or without. Raises `InvalidStoreURL`."""
        return dialect_of(url, self._timeout).url == self.dialect.url

    async def fetch(
        self, statement: Executable, values: Values | None = None, *, plain: bool = False
    ) -> Rows:
        """The rows of one query that finds a few. For `plain` see `PlainStatements`."""
        execute = self._executor(plain)

        def query(connection: Connection) -> Rows:
            rows: Rows = execute(connection, statement, values).fetchall()
            return rows

        return await self._attempts(lambda _: self._runner.run(query, writes=False, brief=True))

    async def read(self, work: Work[T]) -> T:
        """Do any queries, and return what `work` returns."""
        return await self._attempts(lambda _: self._runner.run(work, writes=False, brief=False))

    async def execute(
        self, statement: Executable, values: Values | None = None, *, plain: bool = False
    ) -> int:
        """Change a few rows by one statement, a transaction of its own, and return how many it found."""
        await self._check_file()
        execute = self._executor(plain)

        def write(connection: Connection, progress: _Progress) -> int:
            progress.commits = self.dialect.autocommit
            rows: int = execute(connection, statement, values).rowcount
            if not self.dialect.autocommit:
                progress.commits = True
                connection.commit()
            return rows

        return await self._attempts(
            lambda progress: self._runner.run(partial(write, progress=progress), writes=True, brief=True)
        )

    async def run(self, work: Work[T], *, patient: bool = False, locked: bool = False) -> T:
        """Do several statements in one transaction and return what `work` returns.

        Keep it short, without side effects: it is done again when the engine rolls the transaction back for
        the sake of another (deadlock, serialization failure). `patient` is for work that may take any time,
        and wait as long for others that do the same; of `locked` work, which changes the schema, one at a
        time goes on in a database.
        """
        await self._check_file()
        begin = self.dialect.locked_transaction if locked else self.dialect.transaction

        def transaction(connection: Connection, progress: _Progress) -> T:
            with begin(connection):
                result = work(connection)
                progress.commits = True
            return result

        return await self._attempts(
            lambda progress: self._runner.run(
                partial(transaction, progress=progress), writes=True, brief=False
            ),
            patient=patient,
        )

    async def _check_file(self) -> None:
        try:
            if not self.dialect.check_file():
                await self.close()  # what is there now is opened by the next connection
        except OSError as error:
            raise self._unavailable(error) from error

    def _executor(self, plain: bool) -> Callable[..., Any]:
        return self._plain.execute if plain and self.dialect.embedded else Connection.execute

    async def close(self) -> None:
        """Give back connections and threads. Used again, it connects again, on any event loop."""
        closing = self._runner
        self._runner, self._trust = _runner(self.dialect, self._pool_size)
        await closing.close()

    async def _attempts(
        self,
        attempt: Callable[["_Progress"], Coroutine[Any, Any, T]],
        *,
        patient: bool = False,
    ) -> T:
        deadline = math.inf if patient else asyncio.get_running_loop().time() + self._timeout
        was_lost = False
        for number in range(1, _ATTEMPTS + 1):
            progress = _Progress()
            try:
                work = attempt(progress)
                return await (work if patient else self._last_resort.wait_for(work))
            except IntegrityError:
                raise
            except asyncio.CancelledError as error:
                if error.args == (TIMED_OUT,):
                    self._trust.withdraw()
                raise
            except (DBAPIError, PoolTimeout, OSError) as error:
                refused = isinstance(error, DBAPIError) and self.dialect.has_refused(error)
                if refused or isinstance(error, TimeoutError):
                    self._trust.withdraw()
                if (cause := _cause(error)) is not None and self.dialect.duplicate(cause):
                    raise IntegrityError(None, None, cause) from error
                pause = random.uniform(0, min(0.005 * 2**number, _LONGEST_PAUSE))  # noqa: S311
                # The first attempt may have been late because the event loop was blocked meanwhile.
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

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"{self.dialect.place} cannot be used: {self._reason(error)}.")

    def _reason(self, error: Exception) -> str:
        if isinstance(error, (TimeoutError, PoolTimeout)):
            return "no answer in time"
        cause = _cause(error)
        words = self.dialect.words(cause) if cause else getattr(error, "strerror", None) or str(error)
        return _without_password(words.strip() or type(cause or error).__name__, self.dialect)


@dataclass(slots=True)
class _Progress:
    """Of one attempt at changing something."""

    commits: bool = False
    """Whether, from here on, the change may be there though no answer comes."""


def _cause(error: Exception) -> BaseException | None:
    """What the driver raised, when it is one of its errors."""
    return error.orig if isinstance(error, DBAPIError) else None


def _runner(dialect: Dialect, pool_size: int) -> tuple[Runner, PoolTrust]:
    try:
        return _make_runner(dialect, pool_size)
    except ImportError as error:
        raise _missing(dialect) from error
    except NoSuchModuleError as error:
        if dialect.driver in dialect.url.drivername:
            raise _missing(dialect) from error
        raise InvalidStoreURL(f"There is no SQLAlchemy driver {dialect.url.drivername}.") from None
    except (ArgumentError, ValueError):  # an option that SQLAlchemy itself reads
        raise InvalidStoreURL(f"The {dialect.title} database's URL cannot be read.") from None


def _make_runner(dialect: Dialect, pool_size: int) -> tuple[Runner, PoolTrust]:
    options: dict[str, Any] = {
        "connect_args": dialect.connect_args(),
        "hide_parameters": True,  # they would bring sessions into tracebacks
        **dialect.engine_options,
    }
    if dialect.is_async:
        from sqlalchemy.ext.asyncio import create_async_engine

        asynchronous = create_async_engine(
            dialect.url, **options, pool_size=pool_size, max_overflow=0, pool_timeout=None
        )
        return Tasks(asynchronous, dialect), _set_up(asynchronous.sync_engine, dialect)
    threads = min(pool_size, _EMBEDDED_READERS) if dialect.embedded else pool_size
    connections = threads + 2 * dialect.embedded  # a writer's, and the event loop's
    engine = create_engine(dialect.url, **options, pool_size=connections, max_overflow=0)
    trust = _set_up(engine, dialect)
    return (Embedded if dialect.embedded else Threads)(engine, dialect, threads), trust


def _set_up(engine: Engine, dialect: Dialect) -> PoolTrust:
    dialect.adapt(engine)
    making = _Making(engine)
    event.listen(
        engine, "do_connect", lambda driver, _, *given: making.run(_connect, dialect, driver, *given)
    )
    event.listen(engine, "connect", lambda connection, _: making.run(dialect.prepare, connection))
    return PoolTrust(engine)


class _Making:
    """Turns what a driver raises amid a new connection into `ConnectionError`, whatever its class.

    When the server goes away at that moment, some raise errors that are not those of DB-API: asyncpg
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
    dialect.before_connect()
    try:
        return driver.connect(*args, **options)
    except (KeyError, OSError) as error:
        if (sentence := dialect.lacking(error)) is None:
            raise
        raise UnusableURL(sentence) from error
    except (TypeError, ValueError) as error:  # an option that the driver lacks, or a host that is no name
        words = _without_password(str(error) or type(error).__name__, dialect)
        raise UnusableURL(f"The {dialect.title} driver cannot take the database's URL: {words}.") from error


def _without_password(words: str, dialect: Dialect) -> str:
    """The first line of what a driver says, fit to be shown."""
    password = dialect.url.password
    return (words.replace(password, "***") if password else words).splitlines()[0].rstrip(".")


def _missing(dialect: Dialect) -> MissingDriver:
    line = f'pip install "cartapp[{dialect.extra}]"'
    name, _, driver = dialect.url.drivername.partition("+")
    if driver == dialect.driver:
        return MissingDriver(f"The driver for {dialect.title} is missing: {line}")
    return MissingDriver(f"The driver {driver} is missing; {name}:// without a name takes that of {line}")
