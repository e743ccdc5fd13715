"""The whole application in this process or on a port, for HTTP tests."""

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

from cartapp.accounts.passwords import Passwords
from cartapp.app import create_app
from cartapp.settings import Settings
from tests.support.accounts import QUICK
from tests.support.polling import STORE_TIMEOUT

HTTPS = "https://testserver"
KEYBOARD: dict[str, Any] = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}
ALICE = {"name": "Alice", "email": "alice@example.com", "password": "a long phrase of mine"}
HUB: dict[str, Any] = {"product_id": 2, "name": "USB-C Hub", "price": 49.99, "quantity": 2}
EMPTY = {"items": [], "item_count": 0, "unique_items": 0, "total": 0.0}

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
_IN_PATH = {"product_id": "1", "key": "theme", "handle": "A" * 22}
_UNDOCUMENTED = [("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/inspect")]
_FOLDER = tempfile.TemporaryDirectory(prefix="cart-test-")  # removed when the tests end
_numbers = count()


def line(product: dict[str, Any], subtotal: float, **other: Any) -> dict[str, Any]:
    """Return a product as an item of the cart response."""
    return {**product, **other, "subtotal": subtotal}


def shop_app(**settings: Any) -> FastAPI:
    """Create the application with a memory store, its own database and fast password hashes.

    `settings` override the store and the database.
    """
    default = {
        "session_backend": "memory",
        "session_timeout": STORE_TIMEOUT,
        "database_url": f"sqlite:///{_FOLDER.name}/{next(_numbers)}.db",
    }
    app = create_app(Settings(**(default | settings)))
    app.state.accounts.passwords = Passwords(QUICK)
    return app


def browser(app: FastAPI, base_url: str = HTTPS, **options: Any) -> httpx.AsyncClient:
    """Return a client with its own cookies and without browser headers."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url, **options)


def set_cookies(client: httpx.AsyncClient, cookies: dict[str, str]) -> None:
    """Replace the client's cookies."""
    client.cookies.clear()
    for name, value in cookies.items():
        client.cookies.set(name, value, domain="testserver.local")  # the jar's name for "testserver"


@asynccontextmanager
async def running_app(**settings: Any) -> AsyncIterator[FastAPI]:
    """Run a new application's lifespan around the block."""
    app = shop_app(**settings)
    async with app.router.lifespan_context(app):
        yield app


@asynccontextmanager
async def shop(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of a new application."""
    async with running_app(**settings) as app, browser(app) as client:
        yield client


def cookie_names(response: httpx.Response) -> set[str]:
    """Return the names of the cookies that a response sets, without the prefix `__Host-`."""
    return {
        header.partition("=")[0].removeprefix("__Host-") for header in response.headers.get_list("set-cookie")
    }


def messages(page: httpx.Response) -> list[str]:
    """Return the flash messages on a page."""
    shown = re.findall(r'class="message [^>]*>(?:\s*<p>)?(.*?)</p>', page.text)
    summary = page.text.partition('<div class="message problem"')[2].partition("</div>")[0]
    linked = re.findall(r"<li>(?:<a [^>]*>)?(.*?)(?:</a>)?</li>", summary)
    return [unescape(text) for text in (linked or shown)]


def undo_fields(page: httpx.Response) -> dict[str, str]:
    """Return the fields of the first Undo form on a page."""
    form = page.text.partition('action="/cart/restore"')[2].partition("</form>")[0]
    assert form, "The page has no Undo form."
    return {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


def operations(app: FastAPI) -> list[tuple[str, str]]:
    """Return method and path of each API route, with path parameters filled in."""
    documented = [(method.upper(), path) for path, item in app.openapi()["paths"].items() for method in item]
    return [
        (method, re.sub(r"\{(\w+)\}", lambda found: _IN_PATH[found[1]], path))
        for method, path in [*documented, *_UNDOCUMENTED]
    ]


@contextmanager
def running_uvicorn(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Run the application on uvicorn in another process, in `folder`; yield its URL."""
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
