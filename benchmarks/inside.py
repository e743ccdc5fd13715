"""CPU time of the shop itself for one request, without the server and its sockets.

    .venv/bin/python -m benchmarks.inside memory
    .venv/bin/python -m benchmarks.inside redis redis://127.0.0.1:6379/15

The application is called in this one process, 32 requests at a time, on sessions as `make bench` makes them.
The least of many batches counts, since other processes only ever add to it.
"""

import asyncio
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from time import process_time
from typing import Any

import uvloop
from starlette.types import ASGIApp, Message

from .registry import GET, PING, PUT, VISIT
from .shop import PRODUCTS
from .visitors import QUANTITIES, SESSIONS
from .wrk import CONNECTIONS

BATCH, BATCHES = 256, 40
_BODIES = [json.dumps({"quantity": quantity}).encode() for quantity in QUANTITIES]


class Visitor:
    """Calls the application as a server would."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers: list[tuple[bytes, bytes]] = [(b"host", b"127.0.0.1")]

    async def ask(self, method: str, path: str, body: bytes = b"") -> None:
        """One request, which must be answered with 200; keeps the session's cookie."""
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
            raise SystemExit(f"A request was answered with {message['status']}.")
        for name, value in message["headers"]:
            if name == b"set-cookie":
                self._headers = [self._headers[0], (b"cookie", value.partition(b";")[0])]


async def measure(app: ASGIApp) -> dict[str, float]:
    """Microseconds by endpoint."""
    visitors = [Visitor(app) for _ in range(SESSIONS)]
    for visitor in visitors:
        for product in PRODUCTS:
            await visitor.ask("POST", "/api/cart/add", json.dumps(product | {"quantity": 1}).encode())
    turn = count()

    def changed(visitor: Visitor) -> Awaitable[None]:
        return visitor.ask("PUT", "/api/cart/1", _BODIES[next(turn) // SESSIONS % len(_BODIES)])

    asked: dict[str, Callable[[Visitor], Awaitable[None]]] = {
        PING: lambda visitor: visitor.ask("GET", "/healthz"),
        GET: lambda visitor: visitor.ask("GET", "/api/cart"),
        PUT: changed,
        VISIT: lambda visitor: visitor.ask("GET", "/visit-counter"),
    }
    least = dict.fromkeys(asked, float("inf"))
    for _ in range(BATCHES):
        for endpoint, ask in asked.items():
            least[endpoint] = min(least[endpoint], await _batch(visitors, ask))
    return least


async def _batch(visitors: list[Visitor], ask: Callable[[Visitor], Awaitable[None]]) -> float:
    began = process_time()
    for start in range(0, BATCH, CONNECTIONS):
        some = [visitors[number % SESSIONS] for number in range(start, start + CONNECTIONS)]
        await asyncio.gather(*map(ask, some))
    return (process_time() - began) / BATCH * 1e6


def main(backend: str, url: str = "") -> None:
    settings = {"ENV": "production", "SECRET_KEY": secrets.token_urlsafe(32), "LOG_LEVEL": "WARNING"}
    os.environ.update({f"CART_{name}": value for name, value in settings.items()})
    os.environ["CART_SESSION_BACKEND"] = backend
    if url:
        os.environ["CART_SESSION_URL"] = url
    from cartapp.app import serve_app
    from cartapp.settings import load
    from cartapp.start import prepare

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        os.chdir(folder)
        prepare(load())
        found = uvloop.run(measure(serve_app()))
        os.chdir(Path(folder).parent)
    print(
        backend, *(f"{endpoint} {microseconds:.0f} µs" for endpoint, microseconds in found.items()), sep="   "
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
