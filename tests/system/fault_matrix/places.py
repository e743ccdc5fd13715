"""The backends of the fault matrix: each behind a proxy, with the faults of its server."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    closing,
    contextmanager,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from cartapp.accounts.tables import METADATA
from cartapp.catalogue.tables import PRODUCTS
from cartapp.database.revisions import VERSION_TABLE
from cartapp.session.stores.sql.store import TABLE as SESSIONS
from tests.support.backends import prepare_database
from tests.support.cart_load import Keeps
from tests.support.disks import FILLER, fill, held_database, held_shards, remount, small_disk
from tests.support.polling import DEADLINE, poll_until
from tests.support.servers import firebird, mariadb, memcached, mongodb, pgbouncer, postgresql
from tests.support.servers.process import Disk, Server
from tests.support.servers.proxy import Proxy
from tests.support.servers.redis import AT_ONCE, RedisServer, redis_binary, running
from tests.support.servers.sql import PASSWORD, SqlServer
from tests.support.servers.valkey import valkey_binary
from tests.support.shop_server import Shop, running_shop
from tests.support.sql_pairs import PAIRS, administer

TIMEOUT = 1.0
"""Seconds of CART_SESSION_TIMEOUT."""

Step = Callable[[], Awaitable[None]]
Fault = tuple[Step, Step]
"""Functions that begin and end a fault."""


@dataclass
class Place:
    """A running shop on a backend, and the faults specific to its kind of server."""

    name: str
    settings: Mapping[str, str]
    server: Server | None = None
    """None for files and SQLite, where the application itself reads and writes."""
    proxy: Proxy | None = None
    keeps: Keeps = "all"
    """Data that survives a kill of the server."""
    own: dict[str, Fault] = field(default_factory=dict)
    shop: Shop | None = None


Open = Callable[[pytest.FixtureRequest, AsyncExitStack], Awaitable[Place]]


class Places:
    """The backend of the present cells: a shop of two processes, with a proxy in front of the server."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._stack = AsyncExitStack()
        self._open: Place | None = None
        self._prepare: Open | None = None

    @asynccontextmanager
    async def use(self, name: str, fault: str) -> AsyncIterator[Place]:
        """Start the backend. It stays open for the next cell, unless that names another or this one fails."""
        prepare = SPECIAL.get((name, fault)) or PLACES[name]
        try:
            if self._open is None or self._prepare is not prepare:
                await self.close()
                self._open, self._prepare = await self._start(prepare), prepare
            yield self._open
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop the shop and the server."""
        self._open = None
        await self._stack.aclose()

    async def _start(self, prepare: Open) -> Place:
        place = await prepare(self._request, self._stack)
        settings = {"CART_SESSION_TIMEOUT": str(TIMEOUT), **place.settings}
        folder = self._request.getfixturevalue("tmp_path_factory").mktemp("shop")
        place.shop = await asyncio.to_thread(_started, folder, settings, self._stack)
        return place


def _started(folder: Path, settings: Mapping[str, str], stack: AsyncExitStack) -> Shop:
    threads = ExitStack()
    shop = threads.enter_context(running_shop(folder, settings))
    stack.push_async_callback(asyncio.to_thread, threads.close)
    return shop


# -- Redis and Valkey ---------------------------------------------------------------------------------------

_ON_DISK = ("appendonly yes", "appendfsync always", AT_ONCE)


def _redis(binary: Callable[[], Path]) -> Open:
    async def prepare(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        one, other = [servers.enter_context(running(binary(), *_ON_DISK)) for _ in range(2)]
        proxy = await stack.enter_async_context(Proxy(one.port))
        settings = {"CART_SESSION_URL": f"{one.name}://127.0.0.1:{proxy.port}/0"}
        own = {
            "read-only": (
                _asking(one, "REPLICAOF", "127.0.0.1", "1"),
                _asking(one, "REPLICAOF", "NO", "ONE"),
            ),
            "full": (
                _asking(one, "CONFIG", "SET", "maxmemory", "1"),
                _asking(one, "CONFIG", "SET", "maxmemory", "0"),
            ),
            "no rights": (
                _asking(one, "ACL", "SETUSER", "default", "-@write"),
                _asking(one, "ACL", "SETUSER", "default", "+@all"),
            ),
            "moved": (_moving_redis(proxy, one, other), _nothing),
        }
        return Place(one.name, settings, one.server, proxy, own=own)

    return prepare


def _asking(server: RedisServer, *words: str) -> Step:
    async def step() -> None:
        await asyncio.to_thread(server.execute, *words)

    return step


def _moving_redis(proxy: Proxy, former: RedisServer, new: RedisServer) -> Step:
    """Promote the replica and redirect to it; connections to the old primary stay open."""

    async def step() -> None:
        new.execute("REPLICAOF", "127.0.0.1", former.port)

        async def is_replica() -> bool:
            return new.has("master_link_status:up")

        await poll_until(is_replica)
        former.execute("CLIENT", "PAUSE", 1000, "WRITE")  # lets confirmed writes reach the replica

        async def has_all() -> bool:
            return _offset(former) == _offset(new)

        await poll_until(has_all)
        new.execute("REPLICAOF", "NO", "ONE")
        former.execute("REPLICAOF", "127.0.0.1", new.port)
        proxy.redirect(new.port)

    return step


def _offset(server: RedisServer) -> str:
    lines = dict(line.partition(":")[::2] for line in server.execute("INFO", "replication").splitlines())
    return str(lines.get("slave_repl_offset") or lines["master_repl_offset"])


# -- files and SQLite ---------------------------------------------------------------------------------------


async def _file(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    disk = stack.enter_context(small_disk())
    sessions, away = disk / "sessions", disk / "away"
    own: dict[str, Fault] = {
        "hangs": _held(stack, lambda: held_shards(sessions)),
        "full": (_called(lambda: fill(disk)), _called(lambda: (disk / FILLER).unlink())),
        "no table": (_called(lambda: sessions.rename(away)), _called(lambda: away.rename(sessions))),
        "read-only": (_called(lambda: remount(disk, "ro")), _called(lambda: remount(disk, "rw"))),
    }
    settings = {"CART_SESSION_BACKEND": "file", "CART_SESSION_PATH": str(sessions)}
    return Place("file", settings, own=own)


async def _sqlite(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    disk = stack.enter_context(small_disk())
    file = disk / "cart.db"
    own: dict[str, Fault] = {
        "hangs": _held(stack, lambda: held_database(file)),
        "full": (_called(lambda: fill(disk)), _called(lambda: (disk / FILLER).unlink())),
        "no table": (
            _called(lambda: _on_file(file, _RENAMED.format("cart_session", "cart_session_away"))),
            _called(lambda: _on_file(file, _RENAMED.format("cart_session_away", "cart_session"))),
        ),
    }
    settings = {"CART_SESSION_BACKEND": "database", "DATABASE_URL": f"sqlite:///{file}"}
    return Place("database-sqlite", settings, own=own)


def _on_file(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file, timeout=DEADLINE)) as database:
        database.execute(statement)


def _held(stack: AsyncExitStack, hold: Callable[[], AbstractContextManager[None]]) -> Fault:
    """Return a fault that blocks all writes."""
    held = ExitStack()
    stack.callback(held.close)
    return _called(lambda: held.enter_context(hold())), _called(held.close)


def _called(call: Callable[[], object]) -> Step:
    async def step() -> None:
        await asyncio.to_thread(call)

    return step


# -- memcached and MongoDB ----------------------------------------------------------------------------------


OnPort = memcached.MemcachedServer | mongodb.MongoServer


def _alone(
    name: str,
    start: Callable[[], AbstractContextManager[OnPort]],
    successor: Callable[[Any], tuple[Server, int]],
    path: str = "",
    keeps: Keeps = "all",
) -> Open:
    async def prepare(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        server = servers.enter_context(start())
        proxy = await stack.enter_async_context(Proxy(server.port))
        settings = {"CART_SESSION_URL": f"{name}://127.0.0.1:{proxy.port}{path}"}
        own = {"moved": _replaced(stack, proxy, server.server, *successor(server))}
        return Place(name, settings, server.server, proxy, keeps, own)

    return prepare


def _replaced(stack: AsyncExitStack, proxy: Proxy, former: Server, new: Server, port: int) -> Fault:
    """Return a failover without a replica: kill the server, start another one, and lead the name there."""
    stack.push_async_callback(asyncio.to_thread, new.stop)

    def move() -> None:
        new.start()
        proxy.redirect(port)

    return _called(former.kill), _called(move)


# -- SQL ----------------------------------------------------------------------------------------------------

_READ_ONLY = {
    "postgresql": (
        ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"),
        (
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        ),
    ),
    "mariadb": (("SET GLOBAL read_only = 1",), ("SET GLOBAL read_only = 0",)),
}

_WRITES = "INSERT, UPDATE, DELETE"
_APP = "app@'127.0.0.1'"

_ROLES = {
    "postgresql": (f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'",),
    "mariadb": (
        f"CREATE USER {_APP} IDENTIFIED BY '{PASSWORD.replace('%', '%%')}'",
        f"GRANT ALL ON cart.* TO {_APP}",
    ),
    "firebird": (f"CREATE USER app PASSWORD '{PASSWORD}'",),
}
"""Statements that create the role of the shop, which is not the administrator's."""

_GRANT_TABLES = {
    "postgresql": "GRANT ALL ON {} TO app",
    "firebird": "GRANT ALL ON {} TO USER app",
}
"""Statement that grants a table to the role, where a grant on all tables does not exist."""

_NO_RIGHTS = {
    "postgresql": (
        (f"REVOKE {_WRITES} ON cart_session FROM app",),
        (f"GRANT {_WRITES} ON cart_session TO app",),
    ),
    # Connections of MariaDB and Firebird keep the rights that they had at their login.
    "mariadb": (
        (f"REVOKE {_WRITES} ON cart.* FROM {_APP}", "KILL USER app"),
        (f"GRANT {_WRITES} ON cart.* TO {_APP}",),
    ),
    "firebird": (
        (
            f"REVOKE {_WRITES} ON cart_session FROM USER app",
            "DELETE FROM mon$attachments WHERE mon$user = 'APP'",
        ),
        (f"GRANT {_WRITES} ON cart_session TO USER app",),
    ),
}

_RENAMED = "ALTER TABLE {} RENAME TO {}"


def _replicated(name: str) -> Open:
    async def prepare(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        pair = await asyncio.to_thread(lambda: servers.enter_context(PAIRS[name]()))
        place = await _sql(name, pair.primary, stack)
        proxy, (begin, end) = place.proxy, _READ_ONLY[name]
        assert proxy is not None
        place.own["read-only"] = _running(pair.primary, *begin), _running(pair.primary, *end)
        place.own["no table"] = (
            _running(pair.primary, _RENAMED.format("cart_session", "cart_session_away")),
            _running(pair.primary, _RENAMED.format("cart_session_away", "cart_session")),
        )
        place.own["moved"] = pair.demote_primary, lambda: pair.move(proxy)
        if name == "postgresql":
            pooler = await asyncio.to_thread(lambda: servers.enter_context(pgbouncer.running(pair.primary)))
            place.own["pooler"] = _leading(proxy, pooler), _leading(proxy, pair.primary)
        return place

    return prepare


async def _firebird(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    servers = ExitStack()
    stack.push_async_callback(asyncio.to_thread, servers.close)
    server = await asyncio.to_thread(lambda: servers.enter_context(firebird.running()))
    place = await _sql("firebird", server, stack)
    assert place.proxy is not None
    place.own["moved"] = _replaced(stack, place.proxy, server.server, *firebird.successor(server))
    return place


async def _sql(name: str, server: SqlServer, stack: AsyncExitStack) -> Place:
    url = make_url(server.url)
    assert url.port is not None
    proxy = await stack.enter_async_context(Proxy(url.port))
    settings = await asyncio.to_thread(prepare_database, server.url)
    await asyncio.to_thread(administer, server, *_ROLES[name])
    tables = [table.name for table in (SESSIONS, PRODUCTS, *METADATA.sorted_tables)]
    if grant := _GRANT_TABLES.get(name):
        await asyncio.to_thread(
            administer, server, *(grant.format(table) for table in (*tables, VERSION_TABLE))
        )
    there = url.set(port=proxy.port, username="app").render_as_string(hide_password=False)
    begin, end = _NO_RIGHTS[name]
    return Place(
        f"database-{name}",
        {**settings, "DATABASE_URL": there},
        server.server,
        proxy,
        own={"no rights": (_running(server, *begin), _running(server, *end))},
    )


def _on_small_disk(name: str, size: str, start: Callable[[Disk], AbstractContextManager[SqlServer]]) -> Open:
    """Return a server on a disk to fill. If the server ends, it starts again when there is room."""

    async def prepare(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        disks: list[Path] = []

        @contextmanager
        def disk(user: str | None) -> Iterator[Path]:
            with small_disk(user, size=size) as folder:
                disks.append(folder)
                yield folder

        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        server = await asyncio.to_thread(lambda: servers.enter_context(start(disk)))
        place = await _sql(name, server, stack)

        def make_room() -> None:
            (disks[0] / FILLER).unlink()
            server.server.revive()

        place.own["full"] = _called(lambda: fill(disks[0])), _called(make_room)
        return place

    return prepare


def _leading(proxy: Proxy, server: SqlServer) -> Step:
    """Lead the shop to this server; connections to the other one end."""

    async def step() -> None:
        proxy.redirect(make_url(server.url).port or 0)
        proxy.cut()

    return step


def _running(server: SqlServer, *statements: str) -> Step:
    async def step() -> None:
        await asyncio.to_thread(administer, server, *statements)

    return step


async def _nothing() -> None:
    """Nothing ends a move: the name leads to the new primary from then on."""


PLACES: dict[str, Open] = {
    "file": _file,
    "database-sqlite": _sqlite,
    "redis": _redis(redis_binary),
    "valkey": _redis(valkey_binary),
    "memcached": _alone("memcached", memcached.running, memcached.successor, keeps="nothing"),
    "mongodb": _alone("mongodb", mongodb.running, mongodb.successor, "/cart"),
    "database-postgresql": _replicated("postgresql"),
    "database-mariadb": _replicated("mariadb"),
    "database-firebird": _firebird,
}

_small_postgresql = partial(
    postgresql.running, initdb=["--wal-segsize=1"], settings=["min_wal_size=2MB", "max_wal_size=4MB"]
)

SPECIAL: dict[tuple[str, str], Open] = {
    ("database-postgresql", "full"): _on_small_disk("postgresql", "64m", _small_postgresql),
    ("database-mariadb", "full"): _on_small_disk(
        "mariadb", "192m", lambda disk: mariadb.running("--innodb-log-file-size=4M", disk=disk)
    ),
    ("database-firebird", "full"): _on_small_disk("firebird", "32m", firebird.running),
}
"""Backends of faults that need another server."""
