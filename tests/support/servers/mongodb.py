"""A MongoDB server for tests: `mongod` if it is on the path, FerretDB otherwise.

`python -m tests.support.servers.mongodb` builds FerretDB beforehand, which takes a minute.
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

from tests.support.requirements import skip_or_fail
from tests.support.servers.process import Server, accepts, free_port, temporary_folder

_SOURCE = Path(__file__).parent / "ferretdb"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cartapp-tests"


@dataclass(frozen=True)
class MongoServer:
    """A running server."""

    server: Server
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}"

    @contextmanager
    def client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        """Return a new connection, separate from the store's."""
        with MongoClient[dict[str, Any]](self.url, serverSelectionTimeoutMS=10_000) as client:
            yield client

    def empty(self) -> None:
        """Drop the sessions, since FerretDB scans all documents."""
        with self.client() as client:
            client.drop_database("cart")

    def operations(self) -> int:
        """Return the server's count of commands that read or change documents."""
        with self.client() as client:
            counted = client.admin.command("serverStatus")["metrics"]["commands"]
        return sum(counted.get(name, {}).get("total", 0) for name in ("find", "insert", "update", "delete"))


def ferretdb_binary() -> Path:
    """Return the path of FerretDB, built if its sources have changed. Skips the test if Go is missing."""
    sources = [_SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    binary = _CACHE / f"ferretdb-{digest[:16]}"
    if not binary.exists():
        if which("go") is None:
            skip_or_fail("ferretdb", "There is no mongod, and no Go to build FerretDB with.")
        _CACHE.mkdir(parents=True, exist_ok=True)
        built = binary.with_name(f"{binary.name}.{os.getpid()}")
        subprocess.run(["go", "build", "-buildvcs=false", "-o", built, "."], cwd=_SOURCE, check=True)
        built.replace(binary)  # atomic: another process may build it concurrently
    return binary


def ferretdb_version() -> str:
    """Return the version of FerretDB in go.mod; as a library it does not report its own."""
    found = re.search(r"FerretDB/FerretDB v(\S+)", (_SOURCE / "go.mod").read_text())
    assert found
    return found[1]


@contextmanager
def running(port: int | None = None) -> Iterator[MongoServer]:
    """Start a server with empty databases."""
    port = port or free_port()
    with temporary_folder() as folder, _server(folder, port) as server:
        yield MongoServer(server, port, folder)


def successor(former: MongoServer) -> tuple[Server, int]:
    """Return a second server for the same files, not yet started, and its port."""
    port = free_port()
    return _server(former.folder, port), port


def _server(folder: Path, port: int) -> Server:
    return Server(_command(folder, port), folder=folder, ready=lambda: accepts(port))


def _command(folder: Path, port: int) -> list[str | Path]:
    if mongod := which("mongod"):
        # The tests set their own clock, so the server must not expire anything by the machine's.
        never = ("--setParameter", "ttlMonitorEnabled=false")
        return [mongod, "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", *never]
    return [ferretdb_binary(), "-listen", f"127.0.0.1:{port}", "-folder", folder]


@pytest.fixture(scope="session")
def mongodb_server() -> Iterator[MongoServer]:
    with running() as server:
        yield server


if __name__ == "__main__":
    print(which("mongod") or ferretdb_binary())
