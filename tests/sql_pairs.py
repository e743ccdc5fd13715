"""SQL servers with a replica that is promoted for real."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, make_url

from cartapp.session.stores.engine import Database

from .servers import mariadb, postgresql
from .servers.proxy import Proxy
from .servers.sql import PASSWORD, SqlServer
from .waiting import DEADLINE, until


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

    async def demote_primary(self) -> None:
        """Let the primary take no more writes."""
        await asyncio.to_thread(administer, self.primary, *self.demote)

    async def move(self, proxy: Proxy) -> None:
        """Promote the replica once it has all of the primary, and lead new connections to it."""
        await until(self._has_caught_up)
        await asyncio.to_thread(administer, self.replica, *self.promote)
        proxy.redirect(make_url(self.replica.url).port or 0)

    async def _has_caught_up(self) -> bool:
        servers = zip((self.primary, self.replica), self.position, strict=True)
        positions = [await asyncio.to_thread(administer, *each) for each in servers]
        return positions[0] == positions[1]


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
