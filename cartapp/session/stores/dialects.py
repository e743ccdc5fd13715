"""What differs between the SQL engines, and nothing else.

`Dialect` is what they have in common; each subclass holds what one of them does otherwise. The rest of the
code writes plain SQLAlchemy statements and never asks which engine it talks to.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from math import ceil, inf
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVarTuple
from urllib.parse import urlencode

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Delete,
    Engine,
    LargeBinary,
    Select,
    String,
    Unicode,
    inspect,
    make_url,
)
from sqlalchemy.dialects import mssql, mysql
from sqlalchemy.exc import ArgumentError, DBAPIError

from ..errors import InvalidStoreURL
from .literals import write_literals
from .poolers import recognise_asyncpg, recognise_psycopg
from .sqlite_log import MAX_LOG, SQLiteLog
from .trust import shut_down
from .urls import WRONG_PORT

Ts = TypeVarTuple("Ts")

# -- columns ------------------------------------------------------------------------------------------------

# Keys that differ only in case are different keys, so their column compares bytes.
KEY: Final = (
    String(22)
    .with_variant(String(22, collation="C"), "postgresql")
    .with_variant(mysql.VARCHAR(22, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    .with_variant(mssql.VARCHAR(22, collation="Latin1_General_100_BIN2"), "mssql")
)
NUMBER: Final = BigInteger()
NAME: Final = Unicode(255).with_variant(mysql.VARCHAR(255, charset="utf8mb4"), "mysql", "mariadb")
DATA: Final = (
    LargeBinary()
    .with_variant(mysql.LONGBLOB(), "mysql", "mariadb")  # a BLOB holds 65,535 bytes
    .with_variant(mssql.VARBINARY("max"), "mssql")  # type: ignore[no-untyped-call]
)

_LIBPQ: Final = ("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "passfile")
_NUMBERS: Final = ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size")

_LOCK_TABLE: Final = "cart_lock"
_A_YEAR: Final = 31_536_000  # seconds; asyncmy takes nothing longer, and no zero
_LOCK_WAIT: Final = 3600  # seconds to wait for another change of the schema

TABLE_OPTIONS: Final[Mapping[str, Any]] = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}


class Dialect(ABC):
    """One engine as a URL names it; `timeout` is in seconds."""

    title: ClassVar[str]
    extra: ClassVar[str | None]
    driver: ClassVar[str]
    """The driver of a URL without one; `extra` installs it."""
    instead: ClassVar[Mapping[str, str]] = {}
    """Drivers that are taken for another one."""
    transient: ClassVar[frozenset[object]]
    """Codes of errors after which the engine has rolled back, and the same may succeed when tried again."""
    refusals: ClassVar[frozenset[object]]
    """Codes of errors after which nothing has changed, and the same may succeed on another connection.

    A server that takes no writes any more is one: its name may lead to a new primary by now.
    """
    autocommit: ClassVar[bool] = True
    """Whether a single statement can be a transaction of its own, which spares round trips."""
    begin: ClassVar[str] = "BEGIN"
    """What a transaction of several statements begins with; it is to read only what others have committed."""
    rollback: ClassVar[str] = "ROLLBACK"
    lock: ClassVar[str] = ""
    """What waits in a transaction for the end of another one with it, where `begin` does not."""
    lock_table: ClassVar[str] = ""
    """What makes the table that `locked_transaction` needs, where it needs one."""
    embedded: ClassVar[bool] = False
    """Whether the engine is a library in this process, and lets one writer go on at a time."""

    def __init__(self, url: URL, timeout: float) -> None:
        scheme, _, driver = url.drivername.partition("+")
        self.url = url.set(drivername=f"{scheme}+{self.instead.get(driver, driver or self.driver)}")
        self.timeout = timeout

    @property
    def place(self) -> str:
        """What an error sentence begins with."""
        port = f":{self.url.port}" if self.url.port else ""
        return f"The {self.title} database at {self.url.host or 'localhost'}{port}"

    @property
    def engine_options(self) -> dict[str, Any]:
        """Arguments for `create_engine`."""
        return {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True, "pool_recycle": 1800}

    @property
    def is_async(self) -> bool:
        """Whether the driver works on the event loop, where `runners.Tasks` bounds what it does."""
        return bool(self.url.get_dialect().is_async)

    def connect_args(self) -> dict[str, Any]:
        """Arguments for the driver's `connect`. A timer of its own is only for a driver that is not async."""
        return {}

    def adapt(self, engine: Engine) -> None:
        """Set up what `create_engine` has no argument for."""

    def before_connect(self) -> None:
        """Set up what a new connection needs to find."""

    def prepare(self, connection: Any) -> None:
        """Set up a new connection of the driver."""

    @property
    def sweep_lock(self) -> Path | None:
        """See `HostLocal.sweep_lock`."""
        return None

    def check_file(self) -> bool:
        """Whether an embedded database is still the one that was opened; False when it was replaced.

        Raises `FileNotFoundError` when it was deleted.
        """
        return True

    def interrupt(self, connection: Any) -> None:
        """End the call that a driver's connection hangs in, from another thread."""
        shut_down(connection)

    def after_write(self, connection: Connection) -> None:
        """Do what an embedded database needs after a transaction, in a thread that may wait."""

    @abstractmethod
    def codes(self, error: BaseException) -> Iterable[object]:
        """The engine's own codes in a driver's error."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether the same may succeed when tried again."""
        return error.orig is not None and not self.transient.isdisjoint(self.codes(error.orig))

    def has_refused(self, error: DBAPIError) -> bool:
        """Whether nothing has changed, and the same may succeed on another connection."""
        return error.orig is not None and not self.refusals.isdisjoint(self.codes(error.orig))

    def words(self, error: BaseException) -> str:
        """What a driver's error says to people."""
        return str(error)

    def duplicate(self, error: BaseException) -> bool:
        """Whether an error that the driver did not call an `IntegrityError` says that a key is taken."""
        return False

    def lacking(self, error: KeyError | OSError) -> str | None:
        """What the driver misses of this process, in a sentence; None for an error of the server's."""
        return None

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """The query so that it locks what it finds and passes over what others have locked, if it can."""
        return query.with_for_update(skip_locked=True)

    def by_key(self, deletion: Delete) -> Delete:
        """The deletion so that it finds its rows by their keys, and waits for no others."""
        return deletion

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """A transaction of several statements, done wholly or not at all."""
        connection.exec_driver_sql(self.begin)
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """A transaction of which one at a time goes on in a database, for changes of the schema."""
        with self.transaction(connection):
            if self.lock:
                connection.exec_driver_sql(self.lock)
            yield

    def _roll_back(self, connection: Connection) -> None:
        """End a transaction that failed; a connection that still has one must not go back to the pool."""
        self._execute_last(connection, self.rollback)

    def _execute_last(self, connection: Connection, statement: str) -> None:
        if connection.invalidated:
            return
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            connection.invalidate(error)


class SQLite(Dialect):
    """The standard library's driver, since there is no server that an asynchronous one could wait for.

    In WAL mode readers never wait. `synchronous=NORMAL` means that a power cut may lose the last commits, but
    never damages the file (sqlite.org/pragma.html#pragma_synchronous); a killed process loses none.
    """

    title = "SQLite"
    extra = None
    driver = "pysqlite"
    instead: ClassVar = {"aiosqlite": "pysqlite"}
    transient = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED
    refusals = frozenset({8})  # SQLITE_READONLY
    begin = "BEGIN IMMEDIATE"  # takes the write lock; asking for it later can fail
    embedded = True
    _creating = threading.Lock()
    _inode: int | None = None  # of the file that is open

    def __init__(self, url: URL, timeout: float) -> None:
        super().__init__(url, timeout)
        name = url.database or ":memory:"
        if name == ":memory:" or "\0" in name or url != URL.create(url.drivername, database=name):
            raise InvalidStoreURL(
                "A SQLite URL must name a file and nothing else, such as sqlite:///data/cart.db."
            )
        self._path = Path(name).absolute()
        self._log = SQLiteLog(self._path)
        self.url = self.url.set(database=str(self._path))

    @property
    def place(self) -> str:
        """See `Dialect.place`."""
        return f"The SQLite file {self._path}"

    @property
    def engine_options(self) -> dict[str, Any]:
        """See `Dialect.engine_options`. Its transactions are made within the driver's autocommit mode."""
        return {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": False, "pool_use_lifo": True}

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"timeout": self.timeout, "check_same_thread": False}

    def before_connect(self) -> None:
        """Make the file and its folder, for their owner only; SQLite gives its companions the file's mode.

        Never opens a file that is there: closing it would drop the locks of this process's connections
        (sqlite.org/howtocorrupt.html, 2.2). The lock is for two threads that both find none. Raises
        `FileNotFoundError` for one that was there before: an empty one would not be what was lost.
        """
        if self._inode is not None:
            self._path.stat()
        with self._creating, suppress(FileExistsError):
            for folder in reversed(self._path.parents):
                if not folder.exists():
                    folder.mkdir(0o700, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    def prepare(self, connection: Any) -> None:
        """See `Dialect.prepare`."""
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        (mode,) = cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode == "wal":
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute(f"PRAGMA journal_size_limit={MAX_LOG}")  # as a log that grew longer begins anew
        cursor.close()
        self._inode = self._path.stat().st_ino

    @property
    def sweep_lock(self) -> Path | None:
        """See `HostLocal.sweep_lock`."""
        return self._path.with_name(f"{self._path.name}-sweeper")

    def check_file(self) -> bool:
        """See `Dialect.check_file`: SQLite itself goes on writing to a file that has no name any more."""
        if self._inode is None or self._inode == self._path.stat().st_ino:
            return True
        self._inode = None
        return False

    def after_write(self, connection: Connection) -> None:
        """See `Dialect.after_write`."""
        self._log.bound(connection.connection.dbapi_connection, self.timeout)

    def codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.codes`: the primary result code."""
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF,)


class PostgreSQL(Dialect):
    """asyncpg, or psycopg; both also behind a pooler, see `poolers`."""

    title = "PostgreSQL"
    extra = "postgresql"
    driver = "asyncpg"
    instead: ClassVar = {"psycopg": "psycopg_async"}
    transient = frozenset({"40001", "40P01"})  # serialization failure, deadlock
    # Read-only; a cached plan of which a column's type has changed; ended since it was idle.
    refusals = frozenset({"25006", "0A000", "57P05"})
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    _threshold = 5  # psycopg's own: how often a statement is executed before it is prepared

    def __init__(self, url: URL, timeout: float) -> None:
        super().__init__(url, timeout)
        self._driver = self.url.drivername.partition("+")[2]
        # Those of libpq that asyncpg takes as part of a DSN only.
        self._libpq = {name: value for name, value in self.url.query.items() if name in _LIBPQ}
        if self._driver == "asyncpg":
            self.url = self.url.difference_update_query(_LIBPQ)

    lock = "SELECT pg_advisory_xact_lock(1667330676)"  # the letters "cart" as a number

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        numbers = {name: int(str(self.url.query[name])) for name in _NUMBERS if name in self.url.query}
        if self._driver == "asyncpg":
            from .unprepared import AsyncpgConnection

            dsn = {"dsn": f"postgresql:///?{urlencode(self._libpq, doseq=True)}"} if self._libpq else {}
            return {"timeout": None, "connection_class": AsyncpgConnection, **numbers, **dsn}
        if self._driver == "psycopg_async":
            self._threshold = int(str(self.url.query.get("prepare_threshold", self._threshold)))
            return {"connect_timeout": 0, "prepare_threshold": None}
        return {"connect_timeout": ceil(self.timeout)}

    def adapt(self, engine: Engine) -> None:
        """See `Dialect.adapt`: SQLAlchemy would wait two seconds for the end of a connection that hangs."""

        def do_terminate(dbapi_connection: Any) -> None:
            dbapi_connection.driver_connection.terminate()

        if self._driver == "asyncpg":
            engine.dialect.do_terminate = do_terminate  # type: ignore[method-assign]

    def prepare(self, connection: Any) -> None:
        """See `Dialect.prepare`."""
        if self._driver == "asyncpg":
            connection.run_async(recognise_asyncpg)
        elif self._driver == "psycopg_async":
            connection.run_async(lambda driver: recognise_psycopg(driver, self._threshold))

    def codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.codes`: the SQLSTATE, of which SQLAlchemy's error for a cached plan has none."""
        return (getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None),)

    def lacking(self, error: KeyError | OSError) -> str | None:
        """See `Dialect.lacking`: asyncpg asks for the process's user, and reads keys below its home."""
        if self.url.username is None and (isinstance(error, KeyError) or "username" in str(error)):
            return (
                "The PostgreSQL database's URL names no user, and the user of this process has no name: "
                "write one into the URL."
            )
        folder = Path.home() / ".postgresql"
        try:
            folder.stat()
        except PermissionError:
            return f"{folder} may not be read: set HOME to a folder of the user of this process."
        except OSError:
            pass
        return None


class MySQL(Dialect):
    """MySQL 8.0 and MariaDB 10.6, or newer."""

    title = "MySQL"
    extra = "mysql"
    driver = "asyncmy"
    # Lock wait time-out, deadlock, and MariaDB's "record has changed since last read".
    transient = frozenset({1205, 1213, 1020})
    # Read-only by an option, by the transaction, by InnoDB; ended since it was idle.
    refusals = frozenset({1290, 1792, 1836, 4031})
    begin = "START TRANSACTION"  # BEGIN starts a block of statements where sql_mode is ORACLE
    # What changes the meaning of a statement, of an empty string or of COMMIT is never left to the server.
    pinned: ClassVar[Mapping[str, str]] = {
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "character_set_client": "utf8mb4",
        "character_set_connection": "utf8mb4",
        "character_set_results": "utf8mb4",
        "completion_type": "0",
        "sql_safe_updates": "0",
    }
    _largest_statement: float = inf  # in bytes; the server's, as the newest connection found it

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`; the default is to wait 50 seconds for a lock."""
        variables = {**self.pinned, "innodb_lock_wait_timeout": ceil(self.timeout / 2)}
        # Run by the driver itself, before SQLAlchemy looks at the connection's mode.
        command = "SET SESSION " + ", ".join(f"{name}={value}" for name, value in variables.items())
        connect_timeout = _A_YEAR if self.is_async else ceil(self.timeout)
        return {"connect_timeout": connect_timeout, "charset": "utf8mb4", "init_command": command}

    def adapt(self, engine: Engine) -> None:
        """See `Dialect.adapt`: what is pinned may still change, as when a proxy resets a connection."""
        write_literals(engine, lambda: self._largest_statement)

    def codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.codes`: the server's error number."""
        return error.args[:1]

    def prepare(self, connection: Any) -> None:
        """See `Dialect.prepare`; the default, `REPEATABLE READ`, locks what others want to add to."""
        cursor = connection.cursor()
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SELECT @@max_allowed_packet")
        self._largest_statement = cursor.fetchone()[0] - 2  # one says that it is a statement
        cursor.close()

    def by_key(self, deletion: Delete) -> Delete:
        """See `Dialect.by_key`: InnoDB locks every row that it passes, and would often choose another way.

        Only the form for several tables takes a hint; it names the table first.
        """
        return deletion.prefix_with(deletion.table.description).with_hint("FORCE INDEX (PRIMARY)")

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`; every change of the schema commits, so the connection is locked.

        The server's names of locks are shared by all of its databases.
        """
        name = "CONCAT('cart_schema.', MD5(DATABASE()))"
        if connection.exec_driver_sql(f"SELECT GET_LOCK({name}, {_LOCK_WAIT})").scalar() != 1:
            raise TimeoutError
        try:
            with self.transaction(connection):
                yield
        finally:
            self._execute_last(connection, f"SELECT RELEASE_LOCK({name})")

    def words(self, error: BaseException) -> str:
        """See `Dialect.words`: after the number."""
        return str(error.args[-1]) if error.args else ""


class MariaDB(MySQL):
    """Differs in its name only."""

    title = "MariaDB"
    extra = "mariadb"


class SQLServer(Dialect):
    """SQL Server 2017 or newer; the driver blocks, and is run in threads."""

    title = "SQL Server"
    extra = "mssql"
    driver = "mssqlpython"
    transient = frozenset({"Serialization failure", "40001"})  # of mssql-python, and of pyodbc
    refusals = frozenset({"Invalid transaction state", "25000"})  # of an error 3906: read-only
    begin = "BEGIN TRANSACTION"
    rollback = "IF @@TRANCOUNT > 0 ROLLBACK"  # a deadlock's victim has none any more
    lock = "EXEC sp_getapplock 'cart_schema', 'Exclusive', 'Transaction', -1"

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"timeout": ceil(self.timeout)}

    def prepare(self, connection: Any) -> None:
        """See `Dialect.prepare`; the same attribute of mssql-python and pyodbc limits each statement."""
        connection.timeout = ceil(self.timeout)

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`; the limit of each statement is lifted meanwhile."""
        driver: Any = connection.connection.dbapi_connection
        driver.timeout = 0
        try:
            with super().locked_transaction(connection):
                yield
        finally:
            driver.timeout = ceil(self.timeout)

    def codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.codes`: the SQLSTATE, which mssql-python puts into words."""
        return (getattr(error, "driver_error", None), *error.args[:1])

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """See `Dialect.skip_locked`."""
        (table,) = query.get_final_froms()
        return query.with_hint(table, "WITH (UPDLOCK, READPAST, ROWLOCK)", "mssql")


class Firebird(Dialect):
    """Firebird 3 or newer; the driver blocks, and is run in threads."""

    title = "Firebird"
    extra = "firebird"
    driver = "firebird"
    # Deadlock, lock conflict, update conflict; a change of the schema that met another one.
    transient = frozenset({335544336, 335544345, 335544451, 335544351})
    refusals = frozenset({335544361, 335544765})  # transaction, database read-only
    autocommit = False
    lock_table = f"CREATE TABLE {_LOCK_TABLE} (empty INTEGER)"

    @property
    def engine_options(self) -> dict[str, Any]:
        """See `Dialect.engine_options`; the driver knows no autocommit."""
        return {}

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"charset": "UTF8"}

    def adapt(self, engine: Engine) -> None:
        """See `Dialect.adapt`: SQLAlchemy's dialect ends connections by a call that the driver lacks.

        Nor can it take an error without a code of Firebird's, such as the server's operating system gives.
        """
        is_disconnect = engine.dialect.is_disconnect

        def do_terminate(dbapi_connection: Any) -> None:
            with suppress(dbapi_connection.DatabaseError):  # it was broken already
                dbapi_connection.close()

        def is_disconnected(error: Any, connection: Any, cursor: Any) -> bool:
            return getattr(error, "gds_codes", None) == () or is_disconnect(error, connection, cursor)

        engine.dialect.do_terminate = do_terminate  # type: ignore[method-assign]
        engine.dialect.is_disconnect = is_disconnected  # type: ignore[method-assign, assignment]

    def before_connect(self) -> None:
        """Limit the time for a connection, which the driver takes from a registry of its own only."""
        driver = import_module("firebird.driver")
        driver.driver_config.get_database(self.url.database).timeout.value = ceil(self.timeout)

    def prepare(self, connection: Any) -> None:
        """See `Dialect.prepare`.

        Only a snapshot keeps the BLOB of a row that was read until it is opened, though others write another
        one. After waiting for a row it would find an update conflict, so it does not wait, and tries again.
        """
        driver = import_module("firebird.driver")
        snapshot = driver.tpb(driver.Isolation.SNAPSHOT, lock_timeout=0)
        connection.main_transaction.default_tpb = snapshot

    def interrupt(self, connection: Any) -> None:
        """See `Dialect.interrupt`: the driver can wait without end for a server that is silent."""
        connection._att.cancel_operation(import_module("firebird.driver").CancelType.ABORT)

    def codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.codes`."""
        codes: tuple[int, ...] = getattr(error, "gds_codes", ())
        return codes

    def duplicate(self, error: BaseException) -> bool:
        """See `Dialect.duplicate`; the driver raises no `IntegrityError`."""
        return getattr(error, "sqlcode", None) == -803

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.transaction`; the driver begins one by itself, as `prepare` said."""
        with connection.begin():
            yield

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`: a second transaction of the connection reserves a table.

        The first one is committed after each change of the schema. Only a table of our own can be reserved.
        """
        if not inspect(connection).has_table(_LOCK_TABLE):
            connection.exec_driver_sql(self.lock_table)
        connection.commit()  # a process that loses this race has a conflict, and tries again
        driver = import_module("firebird.driver")
        parameters = driver.TPB(isolation=driver.Isolation.SNAPSHOT, lock_timeout=ceil(self.timeout))
        reserved = (driver.TableShareMode.PROTECTED, driver.TableAccessMode.LOCK_WRITE)
        parameters.reserve_table(_LOCK_TABLE.upper(), *reserved)
        raw: Any = connection.connection.dbapi_connection
        lock = raw.transaction_manager(parameters.get_buffer())
        try:
            lock.begin()
            with self.transaction(connection):
                yield
        finally:
            lock.close()

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """See `Dialect.skip_locked`; Firebird has it from version 5 on."""
        return query


DIALECTS: Final[Mapping[str, type[Dialect]]] = {
    "sqlite": SQLite,
    "postgresql": PostgreSQL,
    "mysql": MySQL,
    "mariadb": MariaDB,
    "mssql": SQLServer,
    "firebird": Firebird,
}
"""By the scheme of their URLs."""


def dialect_of(url: str, timeout: float) -> Dialect:
    """The dialect of a SQLAlchemy URL. Raises `InvalidStoreURL`, which never repeats the URL."""
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgres":  # as libpq spells it too
            parsed = parsed.set(drivername="postgresql")
        dialect = DIALECTS[parsed.get_backend_name()]
    except (ArgumentError, ValueError):
        raise InvalidStoreURL("The database's URL cannot be read.") from None
    except KeyError:
        known = ", ".join(f"{scheme}://" for scheme in DIALECTS)
        raise InvalidStoreURL(f"A database's URL begins with one of {known}.") from None
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise InvalidStoreURL(WRONG_PORT)
    return dialect(parsed, timeout)
