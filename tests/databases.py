"""The databases under test: for each engine a function that gives one test the URL of an empty database."""

import asyncio
import os
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, MetaData, Table, delete

from cartapp.accounts.tables import METADATA
from cartapp.catalogue.tables import PRODUCTS
from cartapp.revisions import VERSION_TABLE, head
from cartapp.schema import ShopDatabase
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import TABLE

from .servers.sql import SqlServer


def emptied(url: str) -> str:
    """The URL, without the sessions of the test before."""

    def drop(connection: Connection) -> None:
        TABLE.drop(connection, checkfirst=True)

    async def run() -> None:
        database = Database(url, timeout=20)
        await database.run(drop)
        await database.close()

    asyncio.run(run())
    return url


def drop_all(connection: Connection) -> None:
    """Drop all tables of accounts and catalogue, and what says that they are there."""
    for table in [PRODUCTS, *reversed(METADATA.sorted_tables)]:
        table.drop(connection, checkfirst=True)
    for name in (VERSION_TABLE, "cart_lock"):  # the latter is Firebird's
        Table(name, MetaData()).drop(connection, checkfirst=True)


def without_schema(url: str) -> str:
    """The URL, without the tables of accounts and catalogue."""

    async def run() -> None:
        database = Database(url, timeout=20)
        await database.run(drop_all)
        await database.close()

    asyncio.run(run())
    return url


def with_schema(url: str) -> str:
    """The URL, with the empty tables of accounts and catalogue; an embedded database makes its own."""

    def empty(connection: Connection) -> None:
        for table in [PRODUCTS, *reversed(METADATA.sorted_tables)]:
            connection.execute(delete(table))

    async def run() -> None:
        database = ShopDatabase(Database(url, timeout=20), timeout=20)
        if database.file is None:
            if await database.revision() != head():
                await database.upgrade()
            await database.run(empty)
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
"""The fixture of each engine that has a server."""

DATABASES: dict[str, Callable[[pytest.FixtureRequest], str]] = {
    "sqlite": _sqlite,
    **{name: _on(fixture) for name, fixture in SERVERS.items()},
    # No package of Debian has it: whoever has a server says where, with user, password and an own database.
    **({"mssql": _sql_server} if os.environ.get("CART_TEST_MSSQL_URL") else {}),
}
