"""The application as a user starts it: `cart serve` in a folder of its own, on a free port."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from tests.servers.process import Server, accepts, free_port

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Shop:
    """A running application."""

    url: str
    folder: Path
    server: Server

    def client(self) -> httpx.AsyncClient:
        """A browser of its own, which may open many connections at once."""
        # uvicorn closes a connection that was idle for five seconds: nothing may be sent on one just then.
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=1)
        # Plain http: without `verify=False` each client would read all certificate authorities first.
        return httpx.AsyncClient(base_url=self.url, limits=limits, timeout=60, verify=False, trust_env=False)


def bare(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings and, since an empty one counts as none, no others."""
    ours = {name: "" for name in os.environ if name.startswith("CART_") or name == "DATABASE_URL"}
    return {**os.environ, **ours, **settings}


@contextmanager
def running_shop(folder: Path, settings: Mapping[str, str], *, workers: int = 2) -> Iterator[Shop]:
    """`cart serve` with these settings on top of the defaults; nothing else of this environment's counts."""
    port = free_port()
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(port), "--workers", str(workers)]
    env = bare({"CART_LOG_LEVEL": "WARNING", **settings})
    with Server(command, folder=folder, ready=lambda: accepts(port), env=env) as server:
        yield Shop(f"http://127.0.0.1:{port}", folder, server)
