"""Versions of the servers under test, for the table in docs/backends.md."""

import asyncio
import os
import sqlite3
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from cartapp.session.stores.sql.engine import Database
from tests.support.databases import SERVERS
from tests.support.servers.memcached import MemcachedServer
from tests.support.servers.mongodb import MongoServer, ferretdb_version
from tests.support.servers.redis import RedisServer, RedisServers


def version_of(backend: str, request: pytest.FixtureRequest) -> str:
    """Return the version of a backend's server, started by a fixture; "" without a server."""
    kind = backend.partition("-")[0]
    return _VERSIONS[kind](backend, request) if kind in _VERSIONS else ""


def _redis(backend: str, request: pytest.FixtureRequest) -> str:
    fixture = {"redis-sentinel": "redis_sentinels", "redis-cluster": "redis_cluster"}
    running: RedisServer | RedisServers = request.getfixturevalue(fixture.get(backend, f"{backend}_server"))
    server = running.servers[0] if isinstance(running, RedisServers) else running
    info = dict(line.split(":", 1) for line in server.execute("INFO", "server").splitlines() if ":" in line)
    return str(info[f"{server.name}_version"])


def _memcached(_backend: str, request: pytest.FixtureRequest) -> str:
    server: MemcachedServer = request.getfixturevalue("memcached_server")
    return server.execute(b"version")[0].decode().removeprefix("VERSION ")


def _mongodb(_backend: str, request: pytest.FixtureRequest) -> str:
    server: MongoServer = request.getfixturevalue("mongodb_server")
    with server.client() as client:
        info = client.server_info()
    return (
        f"FerretDB {ferretdb_version()}, serialised"
        if "ferretdbVersion" in info
        else f"mongod {info['version']}"
    )


def _database(backend: str, request: pytest.FixtureRequest) -> str:
    name = backend.removeprefix("database-")
    if name == "sqlite":
        return sqlite3.sqlite_version

    def ask(connection: Connection) -> tuple[int | str, ...]:
        return connection.dialect.server_version_info or ()

    url = request.getfixturevalue(SERVERS[name]).url if name in SERVERS else os.environ["CART_TEST_MSSQL_URL"]

    async def run() -> tuple[int | str, ...]:
        database = Database(url, timeout=20)
        try:
            return await database.run(ask)
        finally:
            await database.close()

    return ".".join(str(number) for number in asyncio.run(run()))


_VERSIONS: dict[str, Callable[[str, pytest.FixtureRequest], str]] = {
    "redis": _redis,
    "valkey": _redis,
    "memcached": _memcached,
    "mongodb": _mongodb,
    "database": _database,
}
