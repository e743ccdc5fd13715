"""Execute constant statements by the driver itself.

For a statement on one row SQLAlchemy takes twice as long as SQLite. So without a server, SQLAlchemy only
compiles the SQL, once, and translates errors.
"""

from typing import Any, cast

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable


class DriverStatements:
    """Compiled statements, for drivers with positional parameters (PEP 249, `qmark`) and plain values.

    Use constant statements only: each one is cached.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[Executable, tuple[str, ...]], tuple[str, list[str]]] = {}

    def execute(self, connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
        """Execute a statement and return the driver's cursor. Raises SQLAlchemy's `DBAPIError`."""
        sql, names = self._sql(connection, statement, tuple(values))
        driver: Any = connection.connection.dbapi_connection
        try:
            return driver.execute(sql, [values[name] for name in names])
        except driver.Error as error:
            raise DBAPIError.instance(
                sql, None, error, driver.Error, hide_parameters=True, dialect=connection.dialect
            ) from error

    def _sql(
        self, connection: Connection, statement: Executable, names: tuple[str, ...]
    ) -> tuple[str, list[str]]:
        known = self._written.get((statement, names))
        if known is None:
            compiled: Any = cast(ClauseElement, statement).compile(
                dialect=connection.dialect, column_keys=list(names)
            )
            known = self._written[statement, names] = str(compiled), compiled.positiontup
        return known
