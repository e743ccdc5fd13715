"""PostgreSQL behind pgbouncer in transaction mode, where clients share prepared statements."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, make_url, text

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from tests.support.backends import prepare_database
from tests.support.cart_load import cart_load
from tests.support.databases import emptied
from tests.support.polling import DEADLINE
from tests.support.requirements import require_package
from tests.support.servers import pgbouncer
from tests.support.servers.sql import SqlServer
from tests.support.shop_server import running_shop
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

OPTIONS = {
    "postgresql": (
        "",
        "?statement_cache_size=0",
        "?prepared_statement_cache_size=0",
        "?statement_cache_size=0&prepared_statement_cache_size=0",
    ),
    "postgresql+psycopg": ("", "?prepare_threshold=0", "?prepare_threshold=3"),
}
"""URL options that must work with and without a pooler, by driver."""

URLS = [(driver, options) for driver, several in OPTIONS.items() for options in several]


@pytest.fixture(scope="module")
def pooler(postgresql_server: SqlServer) -> Iterator[SqlServer]:
    with pgbouncer.running(postgresql_server) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_sessions(postgresql_server: SqlServer) -> None:
    emptied(postgresql_server.url)


def with_options(url: str, driver: str, options: str) -> str:
    if "psycopg" in driver:
        require_package("psycopg", "pip install psycopg")
    return make_url(url).set(drivername=driver).render_as_string(hide_password=False) + options


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlStore]:
    store = SqlStore(Database(url, pool_size=4, timeout=DEADLINE))
    try:
        yield store
    finally:
        await store.close()


async def use(store: SqlStore, *, times: int) -> None:
    """Run every operation of a store, `times` times."""
    for _ in range(times):
        record = make_record(now())
        assert await store.create(record) == 1
        assert await store.load(record.key) == replace(record, version=1)
        assert await store.save(record, expected=1) == 2
        assert await store.touch(record.key, expected=2, last_used=record.last_used, expires=record.expires)
        await store.ping()
        assert record.key in {found.key async for found in store.scan()}
        assert await store.delete(record.key)


@pytest.mark.parametrize(("driver", "options"), URLS)
async def test_two_processes_share_its_connections(pooler: SqlServer, driver: str, options: str) -> None:
    """Two stores behave like two processes: each has its own names of prepared statements."""
    url = with_options(pooler.url, driver, options)
    async with opened(url) as one, opened(url) as another:
        await asyncio.gather(*(use(store, times=15) for store in (one, another) for _ in range(4)))


@pytest.mark.parametrize(("driver", "options"), URLS)
async def test_without_a_pooler_the_same_options_work(
    postgresql_server: SqlServer, driver: str, options: str
) -> None:
    async with opened(with_options(postgresql_server.url, driver, options)) as store:
        await asyncio.gather(*(use(store, times=5) for _ in range(4)))


@pytest.mark.parametrize("driver", OPTIONS)
async def test_statements_are_prepared_only_without_it(
    pooler: SqlServer, postgresql_server: SqlServer, driver: str
) -> None:
    def prepared(connection: Connection) -> int:
        for _ in range(10):
            connection.execute(text("SELECT 1")).all()
        query = text("SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 1'")
        return int(connection.execute(query).scalar_one())

    for server, expected in ((postgresql_server, 1), (pooler, 0)):
        database = Database(with_options(server.url, driver, ""), pool_size=1, timeout=DEADLINE)
        assert await database.read(prepared) == expected
        await database.close()


@pytest.mark.parametrize("driver", OPTIONS)
async def test_two_workers_of_the_shop_reject_nothing(pooler: SqlServer, tmp_path: Path, driver: str) -> None:
    """Sessions, accounts, catalogue and the schema through the pooler."""
    settings = await asyncio.to_thread(prepare_database, with_options(pooler.url, driver, ""))
    with running_shop(tmp_path, settings) as shop:
        async with cart_load(shop, keeps="all") as load:
            await load.wait_for_increase(load.answered, 600)
        assert load.refused() == 0


async def test_a_url_in_the_spelling_of_libpq(postgresql_server: SqlServer) -> None:
    url = postgresql_server.url.replace("postgresql://", "postgres://") + "?sslmode="
    async with opened(url + "disable") as store:
        await use(store, times=1)
    async with opened(url + "require") as store:
        with pytest.raises(StoreUnavailable, match="rejected SSL upgrade"):  # it has no certificate
            await store.ping()
