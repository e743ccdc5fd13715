"""What differs between the SQL engines."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVarTuple

from sqlalchemy import URL, Connection, Delete, Engine, Select, inspect
from sqlalchemy.exc import DBAPIError

from ....errors import UnusableURL
from ..driver_statements import DriverStatements
from ..pool_invalidation import shut_down

Ts = TypeVarTuple("Ts")


class Dialect(ABC):
    """The engine of a URL; `timeout` is in seconds. Subclasses override what differs."""

    title: ClassVar[str]
    driver: ClassVar[str]
    """The default driver."""
    packages: ClassVar[tuple[str, ...]]
    """The packages that contain it."""
    driver_aliases: ClassVar[Mapping[str, str]] = {}
    """Drivers that are replaced by another one."""
    transient_codes: ClassVar[frozenset[object]]
    """Codes of errors after which the engine has rolled back, and a retry may succeed."""
    reconnect_codes: ClassVar[frozenset[object]]
    """Codes of errors after which nothing has changed, and a retry on another connection may succeed.

    Among them is that of a server that accepts no more writes: its name may point to a new primary.
    """
    autocommit: ClassVar[bool] = True
    """Whether a single statement can be its own transaction, which saves round trips."""
    begin: ClassVar[str] = "BEGIN"
    """Statement that begins a transaction of several statements, at READ COMMITTED."""
    rollback: ClassVar[str] = "ROLLBACK"
    lock: ClassVar[str] = ""
    """Statement that takes an exclusive lock until the end of the transaction, if `begin` does not."""
    lock_table: ClassVar[str] = ""
    """Statement that creates the table for `locked_transaction`, if it needs one."""
    encoding_query: ClassVar[str] = ""
    """Query for the encoding of the database, for engines where UTF-8 is not the only one for text."""
    needs_database: ClassVar[bool] = False
    """Whether the URL must name a database, since the engine has no default one."""
    embedded: ClassVar[bool] = False
    """Whether the engine is a library in this process, which allows one writer at a time."""

    def __init__(self, url: URL, timeout: float) -> None:
        scheme, _, driver = url.drivername.partition("+")
        self.url: URL = url.set(
            drivername=f"{scheme}+{self.driver_aliases.get(driver, driver or self.driver)}"
        )
        self.timeout = timeout

    @property
    def location(self) -> str:
        """The database, as the start of an error message."""
        port = f":{self.url.port}" if self.url.port else ""
        return f"The {self.title} database at {self.url.host or 'localhost'}{port}"

    @property
    def no_database(self) -> str:
        """The error message for a URL that names no database."""
        example = f"{self.url.get_backend_name()}://localhost/shop"
        return f"The {self.title} database's URL names no database: expected a path, as in {example}."

    def unsupported_option(self) -> UnusableURL:
        """Return the error for an option of the URL that changes the types of rows or cursors."""
        return UnusableURL(
            f"The {self.title} driver cannot take the database's URL: "
            "the value of an option is not supported."
        )

    @property
    def engine_options(self) -> dict[str, Any]:
        """Arguments for `create_engine`."""
        return {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True, "pool_recycle": 1800}

    @property
    def is_async(self) -> bool:
        """Whether the driver is asynchronous; see `runners.AsyncRunner`."""
        return bool(self.url.get_dialect().is_async)

    def driver_statements(self) -> DriverStatements | None:
        """Return what executes constant statements faster than SQLAlchemy, if anything does."""
        return None

    def connect_args(self) -> dict[str, Any]:
        """Arguments for the driver's `connect`, with a timeout only for a blocking driver."""
        return {}

    def configure(self, engine: Engine) -> None:
        """Configure what `create_engine` has no argument for."""

    def before_connect(self) -> None:
        """Prepare for a new connection."""

    def on_connect(self, connection: Any) -> None:
        """Configure a new connection of the driver."""

    @property
    def sweep_lock(self) -> Path | None:
        """See `HostLocal.sweep_lock`."""
        return None

    def check_file(self) -> bool:
        """Whether the file of an embedded database is the one that was opened; False if it was replaced.

        Raises `FileNotFoundError` if it was deleted.
        """
        return True

    def interrupt(self, connection: Any) -> None:
        """Interrupt a hanging call of a driver's connection, from another thread."""
        shut_down(connection)

    def after_write(self, connection: Connection) -> None:
        """Maintain an embedded database after a transaction, in a thread that may wait."""

    @abstractmethod
    def error_codes(self, error: BaseException) -> Iterable[object]:
        """Return the engine's error codes in a driver's error."""

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether a retry may succeed."""
        return error.orig is not None and not self.transient_codes.isdisjoint(self.error_codes(error.orig))

    def needs_reconnect(self, error: DBAPIError) -> bool:
        """Whether nothing has changed, and a retry on another connection may succeed."""
        return error.orig is not None and not self.reconnect_codes.isdisjoint(self.error_codes(error.orig))

    def message(self, error: BaseException) -> str:
        """Return the text of a driver's error."""
        return str(error)

    def has_table(self, connection: Connection, name: str) -> bool:
        """Whether a table exists. Raises `UnusableURL` if an engine of the application has no database."""
        return inspect(connection).has_table(name)

    def is_duplicate_key(self, error: BaseException) -> bool:
        """Whether an error means a taken key, though it is not the driver's `IntegrityError`."""
        return False

    def local_problem(self, error: KeyError | OSError) -> str | None:
        """Return a sentence if this process lacks something the driver needs; None for a server's error."""
        return None

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """Make the query lock its rows and skip rows locked by others, if the engine supports it."""
        return query.with_for_update(skip_locked=True)

    def delete_by_key(self, deletion: Delete) -> Delete:
        """Make the deletion find its rows by key, without waiting for other rows."""
        return deletion

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Run several statements in one transaction."""
        connection.exec_driver_sql(self.begin)
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """Run a transaction under a lock of the database, for changes of the schema."""
        with self.transaction(connection):
            if self.lock:
                connection.exec_driver_sql(self.lock)
            yield

    def _roll_back(self, connection: Connection) -> None:
        """Roll back a failed transaction; a connection with an open one must not return to the pool."""
        self._execute_quietly(connection, self.rollback)

    def _execute_quietly(self, connection: Connection, statement: str) -> None:
        if connection.invalidated:
            return
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            connection.invalidate(error)
