"""Run the server of one peer in its own folder, mostly on a core of its own."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from .processes import START, free_port, pin
from .registry import ROOT, Peer
from .wrk import BenchmarkError


@dataclass(frozen=True)
class Running:
    """A peer that accepts requests."""

    address: str
    process: int


@contextmanager
def started(peer: Peer, folder: Path, sessions: str, *, pinned: bool = True) -> Iterator[Running]:
    """Start a peer with its session store at this URL. Raises `BenchmarkError` if it does not start."""
    folder.mkdir()
    port = free_port()
    command = [part.format(port=port) for part in peer.command]
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("CART_", "DATABASE_URL"))
    }
    env = {**own, "PYTHONPATH": str(ROOT), "NODE_ENV": "production", "BENCH_SESSIONS": sessions, **peer.env}
    if sessions and "CART_SESSION_BACKEND" in peer.env:
        env["CART_SESSION_URL"] = sessions
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    if pinned:
        pin(server.pid, core=1)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(peer, address, server, folder / "log")
        yield Running(address, server.pid)
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
    raise BenchmarkError(f"{peer.name} does not respond: {log.read_text()}")
