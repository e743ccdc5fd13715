"""Databases under test: for each engine, a function that returns the URL of an empty database."""

import asyncio
import os
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE
from tests.support.servers.sql import SqlServer


def emptied(url: str) -> str:
    """Drop the sessions table; return the URL."""

    def drop(connection: Connection) -> None:
        TABLE.drop(connection, checkfirst=True)

    async def run() -> None:
        database = Database(url, timeout=20)
        await database.run(drop)
        await database.close()

    asyncio.run(run())
    return url


def _sqlite(request: pytest.FixtureRequest) -> str:
    return f"sqlite:///{request.getfixturevalue('tmp_path')}/cart.db"


def _sql_server(request: pytest.FixtureRequest) -> str:
    return emptied(os.environ["CART_TEST_MSSQL_URL"])


def _on(fixture: str) -> Callable[[pytest.FixtureRequest], str]:
    def of_server(request: pytest.FixtureRequest) -> str:
        server: SqlServer = request.getfixturevalue(fixture)
        return emptied(server.url)

    return of_server


SERVERS = {name: f"{name}_server" for name in ("postgresql", "mariadb", "firebird")}
"""Fixture of each engine with a server."""

DATABASES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": _sqlite,
    **{name: _on(fixture) for name, fixture in SERVERS.items()},
    # Not in Debian: CART_TEST_MSSQL_URL names a server with user, password and a database for the tests.
    **({"mssql": _sql_server} if os.environ.get("CART_TEST_MSSQL_URL") else {}),
}
