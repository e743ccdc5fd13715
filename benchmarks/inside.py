"""CPU time of one request inside the shop, without uvicorn and sockets.

    .venv/bin/python -m benchmarks.inside memory
    .venv/bin/python -m benchmarks.inside redis redis://127.0.0.1:6379/15

Calls the application in this process, 32 concurrent requests at a time, with the sessions of `make bench`.
Reports the fastest of many batches, since other processes can only add time.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

import uvloop
from starlette.types import ASGIApp, Message

from .registry import GET, PING, PUT, VISIT
from .shop import PRODUCTS
from .visitors import QUANTITIES, SESSIONS
from .wrk import CONNECTIONS

T = TypeVar("T")

BATCH, BATCHES = 256, 40
_BODIES = [json.dumps({"quantity": quantity}).encode() for quantity in QUANTITIES]


class Client:
    """ASGI client with one session."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers: list[tuple[bytes, bytes]] = [(b"host", b"127.0.0.1")]

    async def request(self, method: str, path: str, body: bytes = b"") -> None:
        """Send one request, expect 200, and keep the session cookie."""
        headers = list(self._headers)
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        scope: dict[str, Any] = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"},
            **{"method": method, "path": path, "raw_path": path.encode(), "query_string": b""},
            **{"root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)},
            "state": {},
        }

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            return
        if message["status"] != 200:
            raise SystemExit(f"Unexpected status: {message['status']}")
        for name, value in message["headers"]:
            if name == b"set-cookie":
                self._headers = [self._headers[0], (b"cookie", value.partition(b";")[0])]


async def measure(app: ASGIApp) -> dict[str, float]:
    """Return microseconds per request, by endpoint."""
    clients = [Client(app) for _ in range(SESSIONS)]
    for client in clients:
        for product in PRODUCTS:
            await client.request("POST", "/api/cart/add", json.dumps(product | {"quantity": 1}).encode())
    turn = count()

    def put(client: Client) -> Awaitable[None]:
        return client.request("PUT", "/api/cart/1", _BODIES[next(turn) // SESSIONS % len(_BODIES)])

    endpoints: dict[str, Callable[[Client], Awaitable[None]]] = {
        PING: lambda client: client.request("GET", "/healthz"),
        GET: lambda client: client.request("GET", "/api/cart"),
        PUT: put,
        VISIT: lambda client: client.request("GET", "/visit-counter"),
    }
    least = dict.fromkeys(endpoints, float("inf"))
    for _ in range(BATCHES):
        for endpoint, send in endpoints.items():
            least[endpoint] = min(least[endpoint], await _batch(clients, send))
    return least


async def _batch(clients: list[Client], send: Callable[[Client], Awaitable[None]]) -> float:
    start_time = process_time()
    for start in range(0, BATCH, CONNECTIONS):
        batch = [clients[number % SESSIONS] for number in range(start, start + CONNECTIONS)]
        await asyncio.gather(*map(send, batch))
    return (process_time() - start_time) / BATCH * 1e6


def run_in_shop(work: Callable[[ASGIApp], Coroutine[Any, Any, T]], backend: str, url: str) -> T:
    """Return the result of `work` on the complete shop, with the settings of production."""
    settings = {"ENV": "production", "SECRET_KEY": secrets.token_urlsafe(32), "LOG_LEVEL": "WARNING"}
    os.environ.update({f"CART_{name}": value for name, value in settings.items()})
    os.environ["CART_SESSION_BACKEND"] = backend
    if url:
        os.environ["CART_SESSION_URL"] = url
    from cartapp.bootstrap import prepare
    from cartapp.server.worker import create_worker_app
    from cartapp.settings import load

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        prepare(load())
        found = uvloop.run(work(create_worker_app()))
        os.chdir(Path(folder).parent)
    return found


def main(backend: str, url: str = "") -> None:
    found = run_in_shop(measure, backend, url)
    print(
        backend, *(f"{endpoint} {microseconds:.0f} µs" for endpoint, microseconds in found.items()), sep="   "
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
