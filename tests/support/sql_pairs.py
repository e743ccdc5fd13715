"""SQL servers with a replica that is promoted for real."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, make_url

from cartapp.session.stores.sql.engine import Database
from tests.support.polling import DEADLINE, poll_until
from tests.support.servers import mariadb, postgresql
from tests.support.servers.proxy import Proxy
from tests.support.servers.sql import PASSWORD, SqlServer


@dataclass(frozen=True)
class Pair:
    """A primary and a replica, and the statements of a failover."""

    primary: SqlServer
    replica: SqlServer
    demote: tuple[str, ...]
    """On the primary: reject further writes, on open connections too."""
    writing: str
    """Query for the number of transactions that began before the primary rejected writes, or may have."""
    position: tuple[str, str]
    """On the primary and on the replica: the position in the replication log."""
    promote: tuple[str, ...]

    async def demote_primary(self) -> None:
        """Make the primary read-only."""
        await asyncio.to_thread(administer, self.primary, *self.demote)

    async def move(self, proxy: Proxy) -> None:
        """Promote the replica once it has caught up, and forward new connections to it."""
        await poll_until(self._has_caught_up)
        await asyncio.to_thread(administer, self.replica, *self.promote)
        proxy.redirect(make_url(self.replica.url).port or 0)

    async def _has_caught_up(self) -> bool:
        """Return whether the primary rejects all writes and the replica has caught up."""
        if await asyncio.to_thread(administer, self.primary, self.writing):
            return False
        before, after = await self._positions()
        return before == after

    async def _positions(self) -> list[object]:
        servers = zip((self.primary, self.replica), self.position, strict=True)
        return [await asyncio.to_thread(administer, *each) for each in servers]


_POSTGRESQL_WRITING = """
    SELECT CASE
        WHEN current_setting('default_transaction_read_only') = 'on' AND now() > since THEN count(pid) ELSE 1
    END
    FROM (SELECT pg_conf_load_time() + interval '0.5s' AS since) AS loaded
    LEFT JOIN pg_stat_activity ON backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND state <> 'idle' AND coalesce(xact_start < since, true)
    GROUP BY since
"""
"""A connection takes the new default before its next statement. Half a second is enough for the signal."""


@contextmanager
def postgresql_pair() -> Iterator[Pair]:
    with postgresql.running() as primary, postgresql.replica(primary) as replica:
        yield Pair(
            primary,
            replica,
            demote=("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
            writing=_POSTGRESQL_WRITING,
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
            demote=("SET GLOBAL read_only=1",),  # waits for commits in progress
            writing="SELECT NOT @@GLOBAL.read_only",
            position=("SELECT @@gtid_binlog_pos", "SELECT @@gtid_slave_pos"),
            promote=("STOP SLAVE", "SET GLOBAL read_only=0"),
        )


PAIRS = {"postgresql": postgresql_pair, "mariadb": mariadb_pair}


def administer(server: SqlServer, *statements: str, database: str | None = None) -> object:
    """Execute statements as an administrator, in another `database` if given; return the last one's value."""

    def work(connection: Connection) -> object:
        found: object = None
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            found = result.scalar() if result.returns_rows else None
        connection.commit()  # Firebird has no autocommit
        return found

    async def run() -> object:
        url = make_url(server.url.replace("mariadb://cart:", "mariadb://admin:"))
        chosen = url.set(database=database) if database else url
        connected = Database(chosen.render_as_string(hide_password=False), timeout=DEADLINE)
        try:
            return await connected.read(work)
        finally:
            await connected.close()

    return asyncio.run(run())
