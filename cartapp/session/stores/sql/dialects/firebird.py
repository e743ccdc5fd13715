"""Firebird."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from math import ceil
from typing import Any, ClassVar, Final, TypeVarTuple

from sqlalchemy import Connection, Engine, Select, inspect

from .base import Dialect

Ts = TypeVarTuple("Ts")

_LOCK_TABLE: Final = "cart_lock"


class Firebird(Dialect):
    """Firebird 3 or newer, with a blocking driver in threads."""

    title = "Firebird"
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy", "sqlalchemy-firebird", "firebird-driver")
    driver = "firebird"
    needs_database = True
    # Deadlock, lock conflict, update conflict; concurrent change of the schema.
    transient_codes: ClassVar[frozenset[object]] = frozenset({335544336, 335544345, 335544451, 335544351})
    # Transaction, database read-only; no permission, since a connection keeps the rights of its login.
    reconnect_codes: ClassVar[frozenset[object]] = frozenset({335544361, 335544765, 335544352})
    encoding_query = "SELECT COALESCE(TRIM(rdb$character_set_name), 'NONE') FROM rdb$database"
    autocommit = False
    lock_table = f"CREATE TABLE {_LOCK_TABLE} (empty INTEGER)"

    @property
    def engine_options(self) -> dict[str, Any]:
        """See `Dialect.engine_options`; the driver has no autocommit."""
        return {}

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"charset": "UTF8"}

    def configure(self, engine: Engine) -> None:
        """See `Dialect.configure`; SQLAlchemy's dialect closes connections by a call that the driver lacks.

        It also fails on an error without a Firebird code, such as one of the operating system.
        """
        is_disconnect = engine.dialect.is_disconnect

        def do_terminate(dbapi_connection: Any) -> None:
            with suppress(dbapi_connection.DatabaseError):  # already broken
                self.interrupt(dbapi_connection)  # a server that does not respond would block `close` forever
            with suppress(dbapi_connection.DatabaseError):
                dbapi_connection.close()

        def is_disconnected(error: Any, connection: Any, cursor: Any) -> bool:
            return getattr(error, "gds_codes", None) == () or is_disconnect(error, connection, cursor)

        engine.dialect.do_terminate = do_terminate  # type: ignore[method-assign]
        engine.dialect.is_disconnect = is_disconnected  # type: ignore[method-assign, assignment]

    def before_connect(self) -> None:
        """Set the timeout for a connection, which the driver takes from its own registry only."""
        driver = import_module("firebird.driver")
        driver.driver_config.get_database(self.url.database).timeout.value = ceil(self.timeout)

    def on_connect(self, connection: Any) -> None:
        """See `Dialect.on_connect`.

        Only a snapshot keeps the BLOB of a row readable despite concurrent writes. After a wait for a row it
        would fail with an update conflict, so it does not wait but retries.
        """
        driver = import_module("firebird.driver")
        snapshot = driver.tpb(driver.Isolation.SNAPSHOT, lock_timeout=0)
        connection.main_transaction.default_tpb = snapshot

    def interrupt(self, connection: Any) -> None:
        """See `Dialect.interrupt`; the driver can wait forever for a silent server."""
        connection._att.cancel_operation(import_module("firebird.driver").CancelType.ABORT)

    def error_codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.error_codes`."""
        error_codes: tuple[int, ...] = getattr(error, "gds_codes", ())
        return error_codes

    def is_duplicate_key(self, error: BaseException) -> bool:
        """See `Dialect.is_duplicate_key`; the driver raises no `IntegrityError`."""
        return getattr(error, "sqlcode", None) == -803

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.transaction`; the driver begins it, as set up by `on_connect`."""
        with connection.begin():
            yield

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`: a second transaction of the connection reserves a table.

        The first one is committed after each change of the schema. Only our own tables can be reserved.
        """
        if not inspect(connection).has_table(_LOCK_TABLE):
            connection.exec_driver_sql(self.lock_table)
        connection.commit()  # the loser of this race gets a conflict and retries
        driver = import_module("firebird.driver")
        # Waits until the change of another process ends; a timeout of the caller aborts the connection.
        parameters = driver.TPB(isolation=driver.Isolation.SNAPSHOT, lock_timeout=-1)
        reserved = (driver.TableShareMode.PROTECTED, driver.TableAccessMode.LOCK_WRITE)
        parameters.reserve_table(_LOCK_TABLE.upper(), *reserved)
        raw: Any = connection.connection.dbapi_connection
        lock = raw.transaction_manager(parameters.get_buffer())
        try:
            lock.begin()
            with self.transaction(connection):
                yield
        finally:
            ended = (raw.DatabaseError,) if connection.invalidated else ()  # the abort released the lock
            with suppress(*ended):
                lock.close()

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """See `Dialect.skip_locked`; not supported before Firebird 5."""
        return query
