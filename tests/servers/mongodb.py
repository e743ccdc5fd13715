"""A MongoDB server of the tests' own: a real `mongod` where one is on the path, otherwise FerretDB.

`python -m tests.servers.mongodb` builds FerretDB beforehand, which takes a minute.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from pymongo import MongoClient

from tests.needs import unmet
from tests.servers.process import Server, accepts, free_port, temporary_folder

_SOURCE = Path(__file__).parent / "ferretdb"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cartapp-tests"


@dataclass(frozen=True)
class MongoServer:
    """A running server."""

    server: Server
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}"

    @contextmanager
    def client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """A connection of its own, beside the store's."""
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=10_000) as client:
            yield client

    def empty(self) -> None:
        """Drop the sessions; FerretDB looks at everything that is there."""
        with self.client() as client:
            client.drop_database("cart")

    def operations(self) -> int:
        """How many commands it was given that read or change documents, by its own count."""
        with self.client() as client:
            counted = client.admin.command("serverStatus")["metrics"]["commands"]
        return sum(counted.get(name, {}).get("total", 0) for name in ("find", "insert", "update", "delete"))


def ferretdb_binary() -> Path:
    """The path of our FerretDB program, built when its sources are new; the test ends when there is no Go."""
    sources = [_SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    binary = _CACHE / f"ferretdb-{digest[:16]}"
    if not binary.exists():
        if which("go") is None:
            unmet("ferretdb", "There is no mongod, and no Go to build FerretDB with.")
        _CACHE.mkdir(parents=True, exist_ok=True)
        built = binary.with_name(f"{binary.name}.{os.getpid()}")
        subprocess.run(["go", "build", "-buildvcs=false", "-o", built, "."], cwd=_SOURCE, check=True)
        built.replace(binary)  # at once: others may be building it as well
    return binary


def ferretdb_version() -> str:
    """The version that our program is built with; as a library FerretDB does not know its own."""
    found = re.search(r"FerretDB/FerretDB v(\S+)", (_SOURCE / "go.mod").read_text())
    assert found
    return found[1]


@contextmanager
def running(port: int | None = None) -> Iterator[MongoServer]:
    """A server with empty databases."""
    port = port or free_port()
    with (
        temporary_folder() as folder,
        Server(_command(folder, port), folder=folder, ready=lambda: accepts(port)) as server,
    ):
        yield MongoServer(server, port)


def _command(folder: Path, port: int) -> list[str | Path]:
    if mongod := which("mongod"):
        # The tests' clock is not the machine's, so nothing may be removed by the latter.
        never = ("--setParameter", "ttlMonitorEnabled=false")
        return [mongod, "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", *never]
    return [ferretdb_binary(), "-listen", f"127.0.0.1:{port}", "-folder", folder]


@pytest.fixture(scope="session")
def mongodb_server() -> Iterator[MongoServer]:
    with running() as server:
        yield server


if __name__ == "__main__":
    print(which("mongod") or ferretdb_binary())
