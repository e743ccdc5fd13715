"""Detect a pooler, such as pgbouncer, that gives each PostgreSQL transaction another server connection.

Behind it a prepared statement may be missing, or another client's, when it is executed. It is detected on
connect: the announced process ID differs from that of the server process (`pg_backend_pid`). Behind a pooler
each statement is sent with its values in one message, and nothing is prepared.
"""

from typing import Any


async def recognise_asyncpg(connection: Any) -> None:
    """Let a new `AsyncpgConnection` prepare statements if there is no pooler."""
    # `execute` without values is the only call that prepares nothing; it returns the number of rows.
    found = await connection.execute(f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid()}")
    connection.prepares = found == "SELECT 1"


async def recognise_psycopg(connection: Any, threshold: int | None) -> None:
    """The same for psycopg: set the `prepare_threshold`, which was off on connect."""
    cursor = await connection.execute("SELECT pg_backend_pid()")
    (server_pid,) = await cursor.fetchone()
    if server_pid == connection.info.backend_pid:
        connection.prepare_threshold = threshold
