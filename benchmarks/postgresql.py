"""A PostgreSQL server for the benchmark: that of the tests, with one database for each peer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg  # type: ignore[import-untyped]

from tests.support.servers import postgresql as servers


@dataclass(frozen=True)
class PostgreSQL:
    """A running server."""

    address: str

    def url(self, scheme: str, number: int) -> str:
        """Create a database and return its URL with this scheme."""
        asyncio.run(_execute(self.address, f"CREATE DATABASE bench{number}"))
        return f"{scheme}{self.address.partition('://')[2].rpartition('/')[0]}/bench{number}"

    def used(self) -> None:
        """Return nothing: a statement is no command, and each connection has a process."""

    def version(self) -> str:
        return f"PostgreSQL {asyncio.run(_execute(self.address, 'SHOW server_version'))}"


def is_installed() -> bool:
    return bool(servers.PROGRAMS)


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """Start the server."""
    with servers.running() as server:
        yield PostgreSQL(server.url)


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
