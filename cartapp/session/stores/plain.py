"""Constant statements, carried out by the driver itself.

Round a statement that finds one row SQLAlchemy takes twice as long as SQLite does for it. So where no server
is asked, SQLAlchemy writes the SQL once and says what an error means, and what lies between is left out.
"""

from typing import Any, cast

from sqlalchemy import ClauseElement, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.base import Executable


class PlainStatements:
    """For drivers whose parameters are a list (PEP 249, `qmark`), and values that need no conversion.

    Statements that are made anew for each use do not belong here: each is remembered.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[Executable, tuple[str, ...]], tuple[str, list[str]]] = {}

    def execute(self, connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
        """The driver's cursor, after the statement. Raises SQLAlchemy's `DBAPIError`."""
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
