"""Run `cart serve` as a user does, in its own folder on a free port."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx

from tests.support.environment import clean_environment
from tests.support.servers.process import Server, accepts, free_port

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shop:
    """A running application."""

    url: str
    folder: Path
    server: Server

    def client(self) -> httpx.AsyncClient:
        """Return a client with its own cookies that may open many connections."""
        # uvicorn closes connections after five idle seconds; reusing one just then would fail the request.
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200, keepalive_expiry=1)
        # Plain http: `verify=False` saves reading all certificate authorities for each client.
        return httpx.AsyncClient(base_url=self.url, limits=limits, timeout=60, verify=False, trust_env=False)


@contextmanager
def running_shop(
    folder: Path, settings: Mapping[str, str], *options: str, workers: int = 2
) -> Iterator[Shop]:
    """Run `cart serve` with these settings; other settings in this process's environment are ignored."""
    port = free_port()
    serve = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(port), "--workers", str(workers)]
    env = clean_environment(**{"CART_LOG_LEVEL": "WARNING", **settings})
    with Server([*serve, *options], folder=folder, ready=lambda: accepts(port), env=env) as server:
        yield Shop(f"http://127.0.0.1:{port}", folder, server)
