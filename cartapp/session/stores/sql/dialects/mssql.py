"""SQL Server."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, ClassVar, TypeVarTuple

from sqlalchemy import Connection, Select

from .base import Dialect

Ts = TypeVarTuple("Ts")


class SQLServer(Dialect):
    """SQL Server 2017 or newer, with a blocking driver in threads."""

    title = "SQL Server"
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy", "mssql-python")
    driver = "mssqlpython"
    # Of mssql-python and of pyodbc.
    transient_codes: ClassVar[frozenset[object]] = frozenset({"Serialization failure", "40001"})
    # Of an error 3906: read-only.
    reconnect_codes: ClassVar[frozenset[object]] = frozenset({"Invalid transaction state", "25000"})
    begin = "BEGIN TRANSACTION"
    rollback = "IF @@TRANCOUNT > 0 ROLLBACK"  # a deadlock victim's transaction is over
    lock = "EXEC sp_getapplock 'cart_schema', 'Exclusive', 'Transaction', -1"

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        return {"timeout": ceil(self.timeout)}

    def on_connect(self, connection: Any) -> None:
        """See `Dialect.on_connect`; the attribute limits each statement, in mssql-python and pyodbc."""
        connection.timeout = ceil(self.timeout)

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`; statements in it have no limit."""
        driver: Any = connection.connection.dbapi_connection
        driver.timeout = 0
        try:
            with super().locked_transaction(connection):
                yield
        finally:
            driver.timeout = ceil(self.timeout)

    def error_codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.error_codes`: the SQLSTATE, which mssql-python gives as text."""
        return (getattr(error, "driver_error", None), *error.args[:1])

    def skip_locked(self, query: Select[*Ts]) -> Select[*Ts]:
        """See `Dialect.skip_locked`."""
        (table,) = query.get_final_froms()
        return query.with_hint(table, "WITH (UPDLOCK, READPAST, ROWLOCK)", "mssql")
