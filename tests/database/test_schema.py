"""The migrations compared with the tables of the code, and outdated schemas."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, make_url, text

from cartapp.accounts import tables as accounts
from cartapp.catalogue import BUILT_IN, seed
from cartapp.catalogue import tables as catalogue
from cartapp.database import revisions, shop, upgrades
from cartapp.session import StoreUnavailable
from cartapp.session.stores.sql.engine import Database
from tests.support.accounts import create_database, open_database, sqlite_url
from tests.support.databases import DATABASES
from tests.support.schema import without_schema

pytestmark = pytest.mark.anyio

INDEXES = {
    ("cart_user", "email_key"),
    ("cart_login", "user_id"),
    ("cart_login", "expires"),
    ("cart_remember_me", "login_id"),
    ("cart_product", "place"),
}


def differences(connection: Connection) -> list[Any]:
    """Return the changes that Alembic finds between the database and the code."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found = [*compare_metadata(context, accounts.METADATA), *compare_metadata(context, catalogue.METADATA)]
    own = {*accounts.METADATA.tables, *catalogue.METADATA.tables, revisions.VERSION_TABLE, "cart_lock"}
    return [one for one in found if one[0] != "remove_table" or one[1].name not in own]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return without_schema(DATABASES[request.param](request))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"cart_lock"}  # the lock table of Firebird


def indexed(connection: Connection) -> set[tuple[str, ...]]:
    """Return pairs of table name and indexed columns, without the indexes of keys."""
    inspector = inspect(connection)
    found: set[tuple[str, ...]] = set()
    for table in inspector.get_table_names():
        for index in inspector.get_indexes(table):
            found.add((table, *map(str, index["column_names"])))
        for unique in inspector.get_unique_constraints(table):
            found.add((table, *map(str, unique["column_names"])))
    return found - {("cart_schema", "version_num")}


def downgrade(connection: Connection) -> None:
    config = upgrades.alembic_config(connection=connection)
    command.downgrade(config, "base")


async def test_migrations_create_the_tables_of_the_code(url: str) -> None:
    async with open_database(url) as database:
        await database.upgrade()
        await database.upgrade()
        assert await database.get_revision() == revisions.head_revision()
        expected = {*accounts.METADATA.tables, *catalogue.METADATA.tables, revisions.VERSION_TABLE}
        assert await database.run(tables) == expected
        left = await database.run(differences)
        assert not [one for one in left if one[0] not in ("add_index", "remove_index", "add_constraint")]
        assert await database.run(indexed) == INDEXES


def test_revisions_are_those_that_alembic_finds() -> None:
    scripts = ScriptDirectory.from_config(upgrades.alembic_config())
    assert revisions.head_revision() == scripts.get_current_head()
    assert revisions.all_revisions() == {script.revision for script in scripts.walk_revisions()}


async def test_migrations_downgrade_and_upgrade(url: str) -> None:
    async with open_database(url) as database:
        await database.upgrade()
        await database.run(downgrade)
        assert await database.get_revision() is None
        assert await database.run(tables) == {revisions.VERSION_TABLE}
        await database.upgrade()
        assert await database.get_revision() == revisions.head_revision()


async def test_concurrent_starts_upgrade_sqlite_once(tmp_path: Path) -> None:
    databases = [create_database(sqlite_url(tmp_path), seed=seed(BUILT_IN)) for _ in range(6)]
    await asyncio.gather(*(database.prepare() for database in databases))
    ((products,),) = await databases[0].fetch(text("SELECT COUNT(*) FROM cart_product"))
    assert products == len(BUILT_IN)
    for database in databases:
        await database.close()


async def test_creating_the_file_may_exceed_the_timeout(tmp_path: Path) -> None:
    at_once = 1e-6
    first, later = (shop.ShopDatabase(Database(sqlite_url(tmp_path), timeout=at_once)) for _ in range(2))
    await first.prepare()
    await first.close()
    with closing(sqlite3.connect(make_url(sqlite_url(tmp_path)).database or "")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match=r"database is locked|did not respond within 1e-06"):
            await later.run(lambda _: None)
    await later.close()


async def test_outdated_server_schema_is_not_changed(tmp_path: Path) -> None:
    async with open_database(sqlite_url(tmp_path)) as database:
        database.file = None  # as for a database server
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="revision none, expected 0002"):
                await database.fetch(text("SELECT 1"))
        await database.upgrade()
        assert await database.fetch(text("SELECT 1 FROM cart_user")) == []
