"""The name of a SQL server moves to its promoted replica while the former primary goes on, read-only.

The replica has all by then, so nothing may be lost; how much a real failover loses is up to the servers.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, make_url

from cartapp.session.record import now
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import SqlStore

from .layer import Layer
from .servers import mariadb, postgresql
from .servers.proxy import Proxy
from .servers.sql import PASSWORD, SqlServer
from .traffic import traffic
from .waiting import DEADLINE, until

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Pair:
    """A primary and a replica, and the statements of a failover."""

    primary: SqlServer
    replica: SqlServer
    demote: tuple[str, ...]
    """On the primary: it takes no more writes, also on the connections that there are."""
    position: tuple[str, str]
    """On the primary and on the replica: how far each has come."""
    promote: tuple[str, ...]


@contextmanager
def postgresql_pair() -> Iterator[Pair]:
    with postgresql.running() as primary, postgresql.replica(primary) as replica:
        yield Pair(
            primary,
            replica,
            demote=("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
            position=("SELECT pg_current_wal_lsn()::text", "SELECT pg_last_wal_replay_lsn()::text"),
            promote=("SELECT pg_promote()",),
        )


@contextmanager
def mariadb_pair() -> Iterator[Pair]:
    with (
        mariadb.running("--log-bin", "--server-id=1") as primary,
        mariadb.running("--server-id=2") as replica,
    ):
        follow = (
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={make_url(primary.url).port}, "
            f"MASTER_USER='admin', MASTER_PASSWORD='{PASSWORD.replace('%', '%%')}', MASTER_USE_GTID=slave_pos"
        )
        administer(replica, follow, "START SLAVE", "SET GLOBAL read_only=1")
        yield Pair(
            primary,
            replica,
            demote=("SET GLOBAL read_only=1",),
            position=("SELECT @@gtid_binlog_pos", "SELECT @@gtid_slave_pos"),
            promote=("STOP SLAVE", "SET GLOBAL read_only=0"),
        )


PAIRS = {"postgresql": postgresql_pair, "mariadb": mariadb_pair}


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with PAIRS[request.param]() as pair:
        yield pair


def administer(server: SqlServer, *statements: str) -> object:
    """Carry out statements as an administrator, and return what the last one finds."""

    def work(connection: Connection) -> object:
        found: object = None
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            found = result.scalar() if result.returns_rows else None
        return found

    async def run() -> object:
        url = server.url.replace("mariadb://cart:", "mariadb://admin:")
        database = Database(url, timeout=DEADLINE)
        try:
            return await database.read(work)
        finally:
            await database.close()

    return asyncio.run(run())


async def test_traffic_follows_the_name_and_loses_nothing(pair: Pair) -> None:
    async def caught_up() -> bool:
        servers = zip((pair.primary, pair.replica), pair.position, strict=True)
        positions = [await asyncio.to_thread(administer, *each) for each in servers]
        return positions[0] == positions[1]

    async with Proxy(make_url(pair.primary.url).port or 0) as proxy:
        url = make_url(pair.primary.url).set(port=proxy.port).render_as_string(hide_password=False)
        store = SqlStore(Database(url, pool_size=5))
        async with traffic(Layer(store, now), keeps=True) as visitors:
            await visitors.more(visitors.answered, 100)
            await asyncio.to_thread(administer, pair.primary, *pair.demote)
            await visitors.more(visitors.refused, 20)
            await until(caught_up)
            await asyncio.to_thread(administer, pair.replica, *pair.promote)
            proxy.redirect(make_url(pair.replica.url).port or 0)
            await visitors.more(visitors.answered, 100)
        await store.close()
