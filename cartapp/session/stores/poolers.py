"""PostgreSQL behind a pooler that gives each transaction another connection to the server, such as pgbouncer.

There a prepared statement has gone, or is another client's, by the time that it is executed. A pooler is
recognised when a connection is made: the process ID that it announces is not that of the server's process
(`pg_backend_pid`). Behind one, each statement goes with its values in one message, and nothing is prepared.
Without one nothing changes.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .unprepared import AsyncpgConnection


async def recognise_asyncpg(connection: "AsyncpgConnection") -> None:
    """Let a new connection prepare its statements if it leads straight to the server."""
    # `execute` without values is the one call that prepares nothing; it returns the number of rows.
    found = await connection.execute(f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid()}")
    connection.prepares = found == "SELECT 1"


async def recognise_psycopg(connection: Any, threshold: int | None) -> None:
    """The same for psycopg, which was connected without `prepare_threshold` and gets it now."""
    cursor = await connection.execute("SELECT pg_backend_pid()")
    (server_pid,) = await cursor.fetchone()
    if server_pid == connection.info.backend_pid:
        connection.prepare_threshold = threshold
