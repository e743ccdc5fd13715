"""Execute constant statements by asyncpg itself; see `driver_statements`."""

from dataclasses import dataclass
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.sql.base import Executable

from .driver_statements import DriverStatements

_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class AsyncpgStatements(DriverStatements):
    """For connections in autocommit mode, where SQLAlchemy begins no transaction of its own."""

    def execute(self, connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
        """See `DriverStatements.execute`. Any other error invalidates the connection, as in SQLAlchemy."""
        sql, names = self._sql(connection, statement, tuple(values))
        arguments = [values[name] for name in names]
        run = _fetch if statement.is_select else _execute
        adapted: Any = connection.connection.dbapi_connection
        try:
            return adapted.run_async(lambda driver: run(driver, sql, arguments))
        except asyncpg.IntegrityConstraintViolationError as error:
            raise IntegrityError(sql, None, error, hide_parameters=True) from error
        except _ERRORS as error:
            if is_closed := adapted.driver_connection.is_closed():
                connection.invalidate(error)
            raise DBAPIError(
                sql, None, error, hide_parameters=True, connection_invalidated=is_closed
            ) from error
        except BaseException as error:  # cancelled, with a response still to come
            connection.invalidate(error)
            raise


@dataclass(slots=True)
class _Result:
    rows: list[Any]
    rowcount: int

    def fetchall(self) -> list[Any]:
        """Return the rows."""
        return self.rows


async def _fetch(driver: Any, sql: str, arguments: list[Any]) -> _Result:
    rows = await driver.fetch(sql, *arguments)
    return _Result(rows, len(rows))


async def _execute(driver: Any, sql: str, arguments: list[Any]) -> _Result:
    """Execute a statement; its status ends with the number of rows, as in `UPDATE 1`."""
    status: str = await driver.execute(sql, *arguments)
    return _Result([], int(status.rpartition(" ")[2]))
