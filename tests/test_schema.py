"""The migrations, held against the tables that the code uses, and a database that is behind."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, text

from cartapp import revisions, schema
from cartapp.accounts import tables as accounts
from cartapp.catalogue import BUILT_IN, seed
from cartapp.catalogue import tables as catalogue
from cartapp.session import StoreUnavailable
from cartapp.session.stores.engine import Database

from .accounts import made, opened, url_in
from .databases import DATABASES, without_schema

pytestmark = pytest.mark.anyio

INDEXES = {
    ("cart_user", "email_key"),
    ("cart_login", "user_id"),
    ("cart_login", "expires"),
    ("cart_remember_me", "login_id"),
    ("cart_product", "place"),
}


def differences(connection: Connection) -> list[Any]:
    """What Alembic would change to make the database's tables those of the code."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found = [*compare_metadata(context, accounts.METADATA), *compare_metadata(context, catalogue.METADATA)]
    own = {*accounts.METADATA.tables, *catalogue.METADATA.tables, revisions.VERSION_TABLE, "cart_lock"}
    return [one for one in found if one[0] != "remove_table" or one[1].name not in own]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return without_schema(DATABASES[request.param](request))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) - {"cart_lock"}  # what Firebird is locked by


def indexed(connection: Connection) -> set[tuple[str, ...]]:
    """Each table's name with the columns of one of its indexes, but for those of keys."""
    inspector = inspect(connection)
    found: set[tuple[str, ...]] = set()
    for table in inspector.get_table_names():
        for index in inspector.get_indexes(table):
            found.add((table, *map(str, index["column_names"])))
        for unique in inspector.get_unique_constraints(table):
            found.add((table, *map(str, unique["column_names"])))
    return found - {("cart_schema", "version_num")}


def downgrade(connection: Connection) -> None:
    config = revisions.config(connection=connection)
    command.downgrade(config, "base")


# What reads Firebird's catalogue in SQLAlchemy's dialect leaves its cursors to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*Cursor.__del__:pytest.PytestUnraisableExceptionWarning")
async def test_the_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    async with opened(url) as database:
        await database.upgrade()
        await database.upgrade()
        assert await database.revision() == revisions.head()
        made = {*accounts.METADATA.tables, *catalogue.METADATA.tables, revisions.VERSION_TABLE}
        assert await database.run(tables) == made
        left = await database.run(differences)
        assert not [one for one in left if one[0] not in ("add_index", "remove_index", "add_constraint")]
        assert await database.run(indexed) == INDEXES


async def test_the_migrations_can_be_undone_and_done_again(url: str) -> None:
    async with opened(url) as database:
        await database.upgrade()
        await database.run(downgrade)
        assert await database.revision() is None
        assert await database.run(tables) == {revisions.VERSION_TABLE}
        await database.upgrade()
        assert await database.revision() == revisions.head()


async def test_an_embedded_database_is_upgraded_once_however_many_begin(tmp_path: Path) -> None:
    databases = [made(url_in(tmp_path), seed=seed(BUILT_IN)) for _ in range(6)]
    await asyncio.gather(*(database.prepare() for database in databases))
    ((products,),) = await databases[0].fetch(text("SELECT COUNT(*) FROM cart_product"))
    assert products == len(BUILT_IN)
    for database in databases:
        await database.close()


async def test_only_making_the_file_may_take_longer_than_the_timeout(tmp_path: Path) -> None:
    at_once = 1e-6
    first, later = (
        schema.ShopDatabase(Database(url_in(tmp_path), timeout=at_once), timeout=at_once) for _ in range(2)
    )
    await first.prepare()
    await first.close()
    with closing(sqlite3.connect(make_url(url_in(tmp_path)).database or "")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match=r"database is locked|did not answer within 1e-06 seconds"):
            await later.run(lambda _: None)
    await later.close()


async def test_a_server_that_is_behind_is_not_touched(tmp_path: Path) -> None:
    async with opened(url_in(tmp_path)) as database:
        database.file = None  # as if it were a server's
        for _ in range(2):
            with pytest.raises(
                StoreUnavailable, match="revision none and must be at 0001: run `cart db upgrade`"
            ):
                await database.fetch(text("SELECT 1"))
        await database.upgrade()
        assert await database.fetch(text("SELECT 1 FROM cart_user")) == []
