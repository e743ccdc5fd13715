"""A memcached server for tests."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts, free_port, temporary_folder, unprivileged


@dataclass(frozen=True)
class MemcachedServer:
    """A running server."""

    server: Server
    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"memcached://{self.address}"

    def execute(self, *commands: bytes) -> list[bytes]:
        """Send a command on a new connection and return the lines of the response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link:
            link.sendall(b"".join(command + b"\r\n" for command in (*commands, b"quit")))
            with link.makefile("rb") as answers:
                return answers.read().split(b"\r\n")[:-1]

    def stats(self) -> dict[str, int]:
        """Return the server's counters."""
        words = (line.decode().split() for line in self.execute(b"stats"))
        return {word[1]: int(word[2]) for word in words if len(word) == 3 and word[2].isdecimal()}

    def operations(self) -> int:
        """Return the number of requests to get, set or delete an item."""
        counted = self.stats()
        return sum(counted[name] for name in ("cmd_get", "cmd_set", "delete_hits", "delete_misses"))


@contextmanager
def running(*options: str, port: int | None = None) -> Iterator[MemcachedServer]:
    """Start a server with these command line options. Skips the test if memcached is missing."""
    port = port or free_port()
    with temporary_folder() as folder, _server(folder, port, *options) as server:
        yield MemcachedServer(server, port, folder)


def successor(former: MemcachedServer) -> tuple[Server, int]:
    """Return a second server, empty and not yet started, and its port."""
    port = free_port()
    return _server(former.folder, port), port


def _server(folder: Path, port: int, *options: str) -> Server:
    memcached = require_program("memcached", "apt-get install memcached")
    user = unprivileged("nobody")  # memcached changes to this user itself
    command = [memcached, f"--port={port}", "--listen=127.0.0.1", "--udp-port=0", *options]
    return Server(
        [*command, *([f"--user={user}"] if user else [])], folder=folder, ready=lambda: accepts(port)
    )


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    with running() as server:
        yield server
