"""One peer's server: started in a folder of its own on its own core, stopped at the end."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from .registry import ROOT, Peer
from .wrk import BenchmarkError

START = 20.0
"""Seconds for the first answer."""

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
PINNED = len(CORES) > 1
"""Whether load and servers get a core each; macOS cannot do that."""


def pin(process: int, core: int) -> None:
    """Keep a process (0: this one), and those that it starts from now on, on the first or second core."""
    if PINNED:
        os.sched_setaffinity(process, {CORES[core]})


@contextmanager
def started(peer: Peer, folder: Path) -> Iterator[str]:
    """The address of the peer's server. Raises `BenchmarkError` when it does not answer."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [part.format(port=port) for part in peer.command]
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("CART_", "DATABASE_URL"))
    }
    env = {**own, "PYTHONPATH": str(ROOT), "BENCH_FOLDER": str(folder), **peer.env}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    pin(server.pid, core=1)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(peer, address, server, folder / "log")
        yield address
    finally:
        server.terminate()
        server.wait(START)


def _wait(peer: Peer, address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + START
    while server.poll() is None and time.monotonic() < end:
        try:
            httpx.get(address + peer.ping)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise BenchmarkError(f"{peer.name} does not answer: {log.read_text()}")
