"""Execute constant statements by the driver itself.

For a statement on one row SQLAlchemy takes twice as long as SQLite, and as long as asyncpg. So it only
compiles the SQL, once.
"""

from abc import ABC, abstractmethod
from typing import Any, cast

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable


class DriverStatements(ABC):
    """Compiled statements. Use constant statements only: each one is cached."""

    def __init__(self) -> None:
        self._written: dict[tuple[Executable, tuple[str, ...]], tuple[str, list[str]]] = {}

    @abstractmethod
    def execute(self, connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
        """Execute a statement and return an object with `fetchall()` and `rowcount`.

        Raises SQLAlchemy's `DBAPIError`.
        """

    def _sql(
        self, connection: Connection, statement: Executable, names: tuple[str, ...]
    ) -> tuple[str, list[str]]:
        """Return the SQL and the names of its positional parameters."""
        known = self._written.get((statement, names))
        if known is None:
            compiled: Any = cast(ClauseElement, statement).compile(
                dialect=connection.dialect, column_keys=list(names)
            )
            known = self._written[statement, names] = str(compiled), compiled.positiontup
        return known


class CursorStatements(DriverStatements):
    """For the standard library's SQLite driver."""

    def execute(self, connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
        """See `DriverStatements.execute`; returns the driver's cursor."""
        sql, names = self._sql(connection, statement, tuple(values))
        driver: Any = connection.connection.dbapi_connection
        try:
            return driver.execute(sql, [values[name] for name in names])
        except driver.Error as error:
            raise DBAPIError.instance(
                sql, None, error, driver.Error, hide_parameters=True, dialect=connection.dialect
            ) from error
