"""MySQL and MariaDB."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil, inf
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, Delete, Engine

from ....errors import UnusableURL
from ..literals import inline_literals
from .base import Dialect

_A_YEAR: Final = 31_536_000  # seconds; asyncmy takes nothing longer, and no zero
_LOCK_WAIT: Final = 3600  # seconds to wait for another change of the schema


class MySQL(Dialect):
    """MySQL 8.0 and MariaDB 10.6, or newer."""

    title = "MySQL"
    packages: ClassVar[tuple[str, ...]] = ("sqlalchemy[asyncio]", "asyncmy")
    driver = "asyncmy"
    needs_database = True
    # Lock wait timeout, deadlock, and MariaDB's "record has changed since last read".
    transient_codes: ClassVar[frozenset[object]] = frozenset({1205, 1213, 1020})
    # Read-only by option, by transaction, by InnoDB; idle session terminated; no right to the database, the
    # table or the column, since a connection keeps the rights of its login.
    reconnect_codes: ClassVar[frozenset[object]] = frozenset({1290, 1792, 1836, 4031, 1044, 1142, 1143})
    begin = "START TRANSACTION"  # BEGIN starts a compound statement if sql_mode is ORACLE
    # Variables that change the meaning of a statement, an empty string or COMMIT are set explicitly.
    pinned: ClassVar[Mapping[str, str]] = {
        "sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
        "character_set_client": "utf8mb4",
        "character_set_connection": "utf8mb4",
        "character_set_results": "utf8mb4",
        "completion_type": "0",
        "sql_safe_updates": "0",
    }
    _largest_statement: float = inf  # in bytes; the server's limit at the last connect

    def connect_args(self) -> dict[str, Any]:
        """See `Dialect.connect_args`; the server's default wait for a lock is 50 seconds."""
        variables = {**self.pinned, "innodb_lock_wait_timeout": ceil(self.timeout / 2)}
        # The driver runs it before SQLAlchemy reads the connection's mode.
        command = "SET SESSION " + ", ".join(f"{name}={value}" for name, value in variables.items())
        connect_timeout = _A_YEAR if self.is_async else ceil(self.timeout)
        return {"connect_timeout": connect_timeout, "charset": "utf8mb4", "init_command": command}

    def configure(self, engine: Engine) -> None:
        """See `Dialect.configure`; a proxy may reset the pinned variables."""
        inline_literals(engine, lambda: self._largest_statement)

    def error_codes(self, error: BaseException) -> Iterable[object]:
        """See `Dialect.error_codes`: the server's error number."""
        return error.args[:1]

    def on_connect(self, connection: Any) -> None:
        """See `Dialect.on_connect`; the default, `REPEATABLE READ`, takes gap locks that block inserts."""
        cursor = connection.cursor()
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute("SELECT @@max_allowed_packet, @@version")
        max_packet, version = cursor.fetchone()
        if not isinstance(version, str):  # use_unicode=0
            raise self.unsupported_option()
        self._largest_statement = max_packet - 2  # one byte is the command type
        cursor.close()

    def delete_by_key(self, deletion: Delete) -> Delete:
        """See `Dialect.delete_by_key`; without the hint InnoDB often scans, and locks each row it passes.

        Only a multi-table DELETE takes an index hint; it names the table first.
        """
        return deletion.prefix_with(deletion.table.description).with_hint("FORCE INDEX (PRIMARY)")

    @contextmanager
    def locked_transaction(self, connection: Connection) -> Iterator[None]:
        """See `Dialect.locked_transaction`; every change of the schema commits, so it takes a named lock.

        The names of locks are shared by all databases of a server.
        """
        self._check_database(connection)
        name = "CONCAT('cart_schema.', MD5(DATABASE()))"
        if connection.exec_driver_sql(f"SELECT GET_LOCK({name}, {_LOCK_WAIT})").scalar() != 1:
            raise TimeoutError
        try:
            with self.transaction(connection):
                yield
        finally:
            self._execute_quietly(connection, f"SELECT RELEASE_LOCK({name})")

    def has_table(self, connection: Connection, name: str) -> bool:
        """See `Dialect.has_table`."""
        self._check_database(connection)
        return super().has_table(connection, name)

    def _check_database(self, connection: Connection) -> None:
        """Raise `UnusableURL` for a connection without a database."""
        if connection.dialect.default_schema_name is None:
            raise UnusableURL(self.no_database)

    def message(self, error: BaseException) -> str:
        """See `Dialect.message`: the text without the number."""
        return str(error.args[-1]) if error.args else ""


class MariaDB(MySQL):
    """MariaDB differs in its name only."""

    title = "MariaDB"
