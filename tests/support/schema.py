"""The tables of accounts and catalogue in a database under test."""

import asyncio

from sqlalchemy import Connection, MetaData, Table, delete

from cartapp.accounts.tables import METADATA
from cartapp.catalogue.tables import PRODUCTS
from cartapp.database.revisions import VERSION_TABLE, head_revision
from cartapp.database.shop import ShopDatabase
from cartapp.session.stores.sql.engine import Database


def drop_all(connection: Connection) -> None:
    """Drop all tables of accounts and catalogue, with their revision."""
    for table in [PRODUCTS, *reversed(METADATA.sorted_tables)]:
        table.drop(connection, checkfirst=True)
    for name in (VERSION_TABLE, "cart_lock"):  # cart_lock: Firebird only
        Table(name, MetaData()).drop(connection, checkfirst=True)


def without_schema(url: str) -> str:
    """Drop the tables of accounts and catalogue; return the URL."""

    async def run() -> None:
        database = Database(url, timeout=20)
        await database.run(drop_all)
        await database.close()

    asyncio.run(run())
    return url


def with_schema(url: str) -> str:
    """Create empty tables of accounts and catalogue, except in an embedded database; return the URL."""

    def empty(connection: Connection) -> None:
        for table in [PRODUCTS, *reversed(METADATA.sorted_tables)]:
            connection.execute(delete(table))

    async def run() -> None:
        database = ShopDatabase(Database(url, timeout=20))
        if database.file is None:
            if await database.get_revision() != head_revision():
                await database.upgrade()
            await database.run(empty)
        await database.close()

    asyncio.run(run())
    return url
