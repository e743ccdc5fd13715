"""PostgreSQL, by asyncpg or psycopg."""

from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from sqlalchemy import URL, Engine

from ..driver_statements import DriverStatements
from ..poolers import recognise_asyncpg, recognise_psycopg
from .base import Dialect

_LIBPQ: Final = ("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "passfile")
_NUMBERS: Final = ("statement_cache_size", "max_cached_statement_lifetime", "max_cacheable_statement_size")


class PostgreSQL(Dialect):
    """PostgreSQL with asyncpg or psycopg, also behind a pooler; see `poolers`."""

    title = "PostgreSQL"
    url: URL
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy[asyncio]", "asyncpg")
    driver = "asyncpg"
    driver_aliases: ClassVar[Mapping[str, str]] = {"psycopg": "psycopg_async"}
    # Serialization failure, deadlock.
    transient_codes: ClassVar[frozenset[object]] = frozenset({"40001", "40P01"})
    # Read-only; cached plan with a changed column type; idle session terminated.
    reconnect_codes: ClassVar[frozenset[object]] = frozenset({"25006", "0A000", "57P05"})
    encoding_query = "SHOW server_encoding"
    begin = "BEGIN ISOLATION LEVEL READ COMMITTED"
    _threshold = 5  # psycopg's default: executions of a statement before it is prepared

    def __init__(self, url: URL, timeout: float) -> None:
        super().__init__(url, timeout)
        self._driver = self.url.drivername.partition("+")[2]
        # Options of libpq that asyncpg accepts in a DSN only.
        self._libpq = {name: value for name, value in self.url.query.items() if name in _LIBPQ}
        if self._driver == "asyncpg":
            self.url = self.url.difference_update_query(_LIBPQ)

    lock = "SELECT pg_advisory_xact_lock(1667330676)"  # the letters "cart" as a number

    def driver_statements(self) -> DriverStatements | None:
        """See `Dialect.driver_statements`."""
        if self._driver != "asyncpg":
            return None
        from ..asyncpg_statements import AsyncpgStatements

        return AsyncpgStatements()

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`."""
        numbers = {name: int(str(self.url.query[name])) for name in _NUMBERS if name in self.url.query}
        if self._driver == "asyncpg":
            from .._unprepared import AsyncpgConnection

            dsn = {"dsn": f"postgresql:///?{urlencode(self._libpq, doseq=True)}"} if self._libpq else {}
            return {"timeout": None, "connection_class": AsyncpgConnection, **numbers, **dsn}
        if self._driver == "psycopg_async":
            self._threshold = int(str(self.url.query.get("prepare_threshold", self._threshold)))
            return {"connect_timeout": 0, "prepare_threshold": None}
        return {"connect_timeout": ceil(self.timeout)}

    def configure(self, engine: Engine) -> None:
        """See `Dialect.configure`; SQLAlchemy waits two seconds for a hanging connection to close."""

        def do_terminate(dbapi_connection: Any) -> None:
            dbapi_connection.driver_connection.terminate()

        if self._driver == "asyncpg":
            engine.dialect.do_terminate = do_terminate  # type: ignore[method-assign]

    def on_connect(self, connection: Any) -> None:
        """See `Dialect.on_connect`."""
        if self._driver == "asyncpg":
            connection.run_async(recognise_asyncpg)
        elif self._driver == "psycopg_async":
            connection.run_async(lambda driver: recognise_psycopg(driver, self._threshold))

    def error_codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.error_codes`: the SQLSTATE; SQLAlchemy's error for a cached plan has none."""
        return (getattr(error, "sqlstate", None) or getattr(error.__cause__, "sqlstate", None),)

    def local_problem(self, error: KeyError | OSError) -> str | None:
        """See `Dialect.local_problem`; asyncpg needs the name of the process's user and reads its home."""
        if self.url.username is None and (isinstance(error, KeyError) or "username" in str(error)):
            return (
                "The PostgreSQL database's URL names no user, and the user of this process has no name: "
                "add a user to the URL."
            )
        folder = Path.home() / ".postgresql"
        try:
            folder.stat()
        except PermissionError:
            return f"{folder} may not be read: set HOME to a folder of the user of this process."
        except OSError:
            pass
        return None
