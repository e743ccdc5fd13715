"""The whole application, in this process or on a port, for the tests of its HTTP side."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from html import unescape
from itertools import count
from pathlib import Path
from typing import Any

import httpx2 as httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from cartapp.app import create_app
from cartapp.settings import Settings

from .waiting import PATIENCE

HTTPS = "https://testserver"
KEYBOARD: dict[str, Any] = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}
ALICE = {"name": "Alice", "email": "alice@example.com", "password": "a long phrase of mine"}
HUB: dict[str, Any] = {"product_id": 2, "name": "USB-C Hub", "price": 49.99, "quantity": 2}
EMPTY = {"items": [], "item_count": 0, "unique_items": 0, "total": 0.0}

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_IN_PATH = {"product_id": "1", "key": "theme", "handle": "A" * 22}
_FOLDER = tempfile.TemporaryDirectory(prefix="cart-test-")  # removed when the tests end
_numbers = count()


def line(product: dict[str, Any], subtotal: float, **other: Any) -> dict[str, Any]:
    """A product as a line of the cart's answer."""
    return {**product, **other, "subtotal": subtotal}


def shop_app(**settings: Any) -> FastAPI:
    """The application on a store in memory and a database of its own, or as `settings` say."""
    default = {
        "session_backend": "memory",
        "session_timeout": PATIENCE,
        "database_url": f"sqlite:///{_FOLDER.name}/{next(_numbers)}.db",
    }
    return create_app(Settings(**(default | settings)))


def browser(app: FastAPI, base_url: str = HTTPS, **options: Any) -> httpx.AsyncClient:
    """A client with cookies of its own; it sends no header of a browser."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url, **options)


def take(client: httpx.AsyncClient, cookies: dict[str, str]) -> None:
    """Let these be the client's cookies."""
    client.cookies.clear()
    for name, value in cookies.items():
        client.cookies.set(name, value, domain="testserver.local")  # what the jar makes of "testserver"


@asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[FastAPI]:
    """A new application, which is shut down in the end and leaves nothing open."""
    app = shop_app(**settings)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def shop(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a new application, which is shut down in the end."""
    async with started(**settings) as app, browser(app) as client:
        yield client


def messages(page: httpx.Response) -> list[str]:
    """The messages that a page shows."""
    return [unescape(text) for text in re.findall(r'<p class="message [^>]*>(.*?)</p>', page.text)]


def operations(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path of the application's own routes, parameters filled in."""
    return [
        (method, re.sub(r"\{(\w+)\}", lambda found: _IN_PATH[found[1]], route.path_format))
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


@contextmanager
def running(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """The application on uvicorn in another process, working in `folder`; yields its address."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "--factory",
        "cartapp.app:create_app",
        "--port",
        "0",
        *options,
    ]
    paths = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    server = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        yield _address(server.stderr)
    finally:
        server.terminate()
        server.communicate(timeout=10)


def _address(log: Iterator[str]) -> str:
    lines = []
    for line in log:
        lines.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            return found[1]
    raise AssertionError("".join(lines))
