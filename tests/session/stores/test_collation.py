"""A table of an older version, with the default collation of MariaDB, is converted by `create_table`."""

import pytest
from sqlalchemy import Connection
from sqlalchemy.schema import CreateTable

from cartapp.session.stores.queries import Query
from cartapp.session.stores.sql.collation import collation_upgrade
from cartapp.session.stores.sql.columns import MYSQL_COLLATION
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE, SqlStore, table_sql
from tests.conftest import ManualClock
from tests.support.databases import emptied
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.sql import SqlServer
from tests.support.shop_server import ROOT
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio


def create_older_table(connection: Connection) -> None:
    statement = str(CreateTable(TABLE).compile(dialect=connection.dialect))
    assert f" COLLATE {MYSQL_COLLATION}" in statement
    connection.exec_driver_sql(statement.replace(f" COLLATE {MYSQL_COLLATION}", ""))


@pytest.fixture(params=["mariadb", "mysql"])
def url(request: pytest.FixtureRequest, mariadb_server: SqlServer) -> str:
    return f"{request.param}{emptied(mariadb_server.url).removeprefix('mariadb')}"


async def test_an_older_table_is_converted(url: str, clock: ManualClock) -> None:
    database = Database(url, timeout=STORE_TIMEOUT)
    store = SqlStore(database, clock=clock)
    await database.run(create_older_table)
    for user in ("ann", "Ann", "änn"):
        await store.create(make_record(clock.now, user_id=user))
    assert await store.count(Query("ann")) == 3  # as in a process that runs before the upgrade
    assert [found.user_id async for found in store.scan(user_id="ann")] == ["ann"]
    for _ in range(2):
        await store.create_table()
        assert await store.count(Query("ann")) == 1
        assert (await store.totals(Query())).users == 3
    await store.close()


def test_the_statements_for_a_dba() -> None:
    assert f"user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE {MYSQL_COLLATION}" in table_sql(
        "mariadb://localhost/cart"
    )
    assert f"{collation_upgrade(TABLE)};" in (ROOT / "docs" / "backends.md").read_text()
