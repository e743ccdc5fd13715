"""The backends of the fault matrix: each behind a proxy, with what can be done to its server."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.backends import upgraded
from tests.disks import FILLER, fill, held_database, held_shards, small_disk
from tests.running import Shop, running_shop
from tests.servers import memcached, mongodb, pgbouncer
from tests.servers.process import Server
from tests.servers.proxy import Proxy
from tests.servers.redis import AT_ONCE, RedisServer, redis_binary, running
from tests.servers.sql import SqlServer
from tests.servers.valkey import valkey_binary
from tests.shoppers import Keeps
from tests.sql_pairs import PAIRS, administer
from tests.waiting import DEADLINE, until

TIMEOUT = 1.0
"""Seconds of CART_SESSION_TIMEOUT."""

Step = Callable[[], Awaitable[None]]
Fault = tuple[Step, Step]
"""What begins a fault and what ends it."""


@dataclass
class Place:
    """A running shop on a backend, and the faults that its kind of server can have beside those of all."""

    name: str
    settings: Mapping[str, str]
    server: Server | None = None
    """None for files and SQLite, where the application itself reads and writes."""
    proxy: Proxy | None = None
    keeps: Keeps = "all"
    """What a killed server still has when it is back."""
    own: dict[str, Fault] = field(default_factory=dict)
    shop: Shop | None = None


Open = Callable[[pytest.FixtureRequest, AsyncExitStack], Awaitable[Place]]


@asynccontextmanager
async def opened(name: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Place]:
    """The shop on this backend, with two processes and a proxy in front of the server."""
    async with AsyncExitStack() as stack:
        place = await PLACES[name](request, stack)
        settings = {"CART_SESSION_TIMEOUT": str(TIMEOUT), **place.settings}
        shop = await asyncio.to_thread(_started, folder, settings, stack)
        place.shop = shop
        yield place


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
        await asyncio.to_thread(server.ask, *words)

    return step


def _moving_redis(proxy: Proxy, former: RedisServer, new: RedisServer) -> Step:
    """The replica is promoted and the name leads to it; connections to the former primary stay open."""

    async def step() -> None:
        new.ask("REPLICAOF", "127.0.0.1", former.port)

        async def is_replica() -> bool:
            return new.has("master_link_status:up")

        await until(is_replica)
        former.ask("CLIENT", "PAUSE", 1000, "WRITE")  # what was confirmed reaches the replica

        async def has_all() -> bool:
            return _offset(former) == _offset(new)

        await until(has_all)
        new.ask("REPLICAOF", "NO", "ONE")
        former.ask("REPLICAOF", "127.0.0.1", new.port)
        proxy.redirect(new.port)

    return step


def _offset(server: RedisServer) -> str:
    lines = dict(line.partition(":")[::2] for line in server.ask("INFO", "replication").splitlines())
    return str(lines.get("slave_repl_offset") or lines["master_repl_offset"])


# -- files and SQLite ---------------------------------------------------------------------------------------


async def _file(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    disk = stack.enter_context(small_disk())
    sessions, away = disk / "sessions", disk / "away"
    own: dict[str, Fault] = {
        "hangs": _held(stack, lambda: held_shards(sessions)),
        "full": (_called(lambda: fill(disk)), _called(lambda: (disk / FILLER).unlink())),
        "no table": (_called(lambda: sessions.rename(away)), _called(lambda: away.rename(sessions))),
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
    """What makes writes wait in vain."""
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
    name: str, start: Callable[[], AbstractContextManager[OnPort]], path: str = "", keeps: Keeps = "all"
) -> Open:
    async def prepare(_request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        server = servers.enter_context(start())
        proxy = await stack.enter_async_context(Proxy(server.port))
        settings = {"CART_SESSION_URL": f"{name}://127.0.0.1:{proxy.port}{path}"}
        return Place(name, settings, server.server, proxy, keeps)

    return prepare


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

_RENAMED = "ALTER TABLE {} RENAME TO {}"


def _replicated(name: str) -> Open:
    async def prepare(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        pair = await asyncio.to_thread(lambda: servers.enter_context(PAIRS[name]()))
        place = await _sql(name, pair.primary, request, stack)
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


async def _firebird(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    return await _sql("firebird", request.getfixturevalue("firebird_server"), request, stack)


async def _sql(name: str, server: SqlServer, request: pytest.FixtureRequest, stack: AsyncExitStack) -> Place:
    url = make_url(server.url)
    assert url.port is not None
    proxy = await stack.enter_async_context(Proxy(url.port))
    folder = request.getfixturevalue("tmp_path_factory").mktemp("upgrade")
    settings = await asyncio.to_thread(upgraded, server.url, folder)
    there = url.set(port=proxy.port).render_as_string(hide_password=False)
    return Place(f"database-{name}", {**settings, "DATABASE_URL": there}, server.server, proxy)


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
    "memcached": _alone("memcached", memcached.running, keeps="nothing"),
    "mongodb": _alone("mongodb", mongodb.running, "/cart"),
    "database-postgresql": _replicated("postgresql"),
    "database-mariadb": _replicated("mariadb"),
    "database-firebird": _firebird,
}
