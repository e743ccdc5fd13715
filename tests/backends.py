"""Every backend as a user chooses it: the settings with which the whole application is started on it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .databases import DATABASES, SERVERS, emptied
from .running import ROOT, bare
from .servers.mongodb import MongoServer
from .stores import REDIS, with_prefix

Settings = dict[str, str]
Choose = Callable[[pytest.FixtureRequest], Settings]


def upgraded(url: str, folder: Path) -> Settings:
    """Sessions and accounts in this database, without a session and prepared by `cart db upgrade`."""
    settings = {"CART_SESSION_BACKEND": "database", "DATABASE_URL": emptied(url)}
    command = [sys.executable, str(ROOT / "cli.py"), "db", "upgrade"]
    subprocess.run(command, cwd=folder, env=bare(settings), check=True, capture_output=True, timeout=60)
    return settings


def _folder(request: pytest.FixtureRequest) -> Path:
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return factory.mktemp("settings")


def _named(name: str) -> Choose:
    return lambda request: {"CART_SESSION_BACKEND": name}


def _at(fixture: str) -> Choose:
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
        return upgraded(url, _folder(request))

    return choose


SHARED: dict[str, Choose] = {
    "file": _named("file"),
    **{name: _redis(fixture) for name, fixture in REDIS.items()},
    "memcached": _at("memcached_server"),
    "mongodb": _mongodb,
    **{f"database-{name}": _database(name) for name in DATABASES},
}
"""For each backend that several processes can share, how to choose it; `request` gives it its server."""

ALL: dict[str, Choose] = {**SHARED, "memory": _named("memory"), "cookie": _named("cookie")}

SERVER_SIDE = [*SHARED, "memory"]


def workers(backend: str) -> int:
    """How many processes the application is given for a test on this backend."""
    return 1 if backend == "memory" else 2
