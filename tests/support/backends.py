"""Settings that start the whole application on each backend."""

import asyncio
import os
from collections.abc import Callable

import pytest

from cartapp.bootstrap import upgrade_schema
from cartapp.settings import Settings as CartSettings
from tests.support.databases import DATABASES, SERVERS, emptied
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.mongodb import MongoServer
from tests.support.stores import REDIS, with_prefix

Settings = dict[str, str]
Choose = Callable[[pytest.FixtureRequest], Settings]


def prepare_database(url: str) -> Settings:
    """Empty a database and upgrade its schema; return settings for sessions and accounts there."""
    database = CartSettings(
        session_backend="database", session_timeout=STORE_TIMEOUT, database_url=emptied(url)
    )
    asyncio.run(upgrade_schema(database))
    return {"CART_SESSION_BACKEND": "database", "DATABASE_URL": url}


def _by_name(name: str) -> Choose:
    return lambda request: {"CART_SESSION_BACKEND": name}


def _by_url(fixture: str) -> Choose:
    return lambda request: {"CART_SESSION_URL": request.getfixturevalue(fixture).url}


def _mongodb(request: pytest.FixtureRequest) -> Settings:
    server: MongoServer = request.getfixturevalue("mongodb_server")
    server.empty()
    return {"CART_SESSION_URL": server.url}


def _redis(fixture: str) -> Choose:
    return lambda request: {"CART_SESSION_URL": with_prefix(request.getfixturevalue(fixture).url)}


def _database(name: str) -> Choose:
    def choose(request: pytest.FixtureRequest) -> Settings:
        if name == "sqlite":
            return {"CART_SESSION_BACKEND": "database"}
        fixture = SERVERS.get(name)
        url = request.getfixturevalue(fixture).url if fixture else os.environ["CART_TEST_MSSQL_URL"]
        return prepare_database(url)

    return choose


SHARED: dict[str, Choose] = {
    "file": _by_name("file"),
    **{name: _redis(fixture) for name, fixture in REDIS.items()},
    "memcached": _by_url("memcached_server"),
    "mongodb": _mongodb,
    **{f"database-{name}": _database(name) for name in DATABASES},
}
"""Settings of each backend that several processes can share; `request` provides the server."""

ALL: dict[str, Choose] = {**SHARED, "memory": _by_name("memory"), "cookie": _by_name("cookie")}

SERVER_SIDE = [*SHARED, "memory"]


def worker_count(backend: str) -> int:
    """Number of application processes for tests on this backend."""
    return 1 if backend == "memory" else 2
