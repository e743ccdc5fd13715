"""A memcached server of the tests' own."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.needs import program
from tests.servers.process import Server, accepts, free_port, temporary_folder, unprivileged


@dataclass(frozen=True)
class MemcachedServer:
    """A running server."""

    server: Server
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"memcached://{self.address}"

    def ask(self, *commands: bytes) -> list[bytes]:
        """The lines of all answers, asked for on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as link:
            link.sendall(b"".join(command + b"\r\n" for command in (*commands, b"quit")))
            with link.makefile("rb") as answers:
                return answers.read().split(b"\r\n")[:-1]

    def stats(self) -> dict[str, int]:
        """Its own counters."""
        words = (line.decode().split() for line in self.ask(b"stats"))
        return {word[1]: int(word[2]) for word in words if len(word) == 3 and word[2].isdecimal()}

    def operations(self) -> int:
        """How many items it was asked for, to store, or to remove."""
        counted = self.stats()
        return sum(counted[name] for name in ("cmd_get", "cmd_set", "delete_hits", "delete_misses"))


@contextmanager
def running(*options: str, port: int | None = None) -> Iterator[MemcachedServer]:
    """A server with these command line options; the test ends when there is no memcached."""
    memcached = program("memcached", "apt-get install memcached")
    port = port or free_port()
    user = unprivileged("nobody")  # which it changes to by itself
    command = [memcached, f"--port={port}", "--listen=127.0.0.1", "--udp-port=0", *options]
    with (
        temporary_folder() as folder,
        Server(
            [*command, *([f"--user={user}"] if user else [])], folder=folder, ready=lambda: accepts(port)
        ) as server,
    ):
        yield MemcachedServer(server, port)


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    with running() as server:
        yield server
