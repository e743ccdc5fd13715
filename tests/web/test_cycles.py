"""Requests leave no reference cycles: collecting those would delay concurrent requests."""

import gc
import json
from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest
from starlette.types import ASGIApp, Message

from cartapp.app import create_app
from cartapp.settings import load

pytestmark = pytest.mark.anyio

ITEM = {"product_id": 1, "name": "Keyboard", "price": 79.99}


class Exchange:
    """A request as in uvicorn: an object with the scope and the methods `receive` and `send`."""

    def __init__(self, method: str, path: str, body: bytes, cookie: bytes) -> None:
        headers = [(b"host", b"127.0.0.1"), (b"cookie", cookie)]
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self.scope: dict[str, Any] = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"},
            **{"method": method, "path": path, "raw_path": path.encode(), "query_string": b""},
            **{"root_path": "", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)},
        }
        self.body = body
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    def cookie(self) -> bytes:
        headers = dict(self.messages[0]["headers"])
        return bytes(headers.get(b"set-cookie", b"")).partition(b";")[0]


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def send_request(
    app: ASGIApp, method: str, path: str, body: Any = None, cookie: bytes = b""
) -> Exchange:
    exchange = Exchange(method, path, b"" if body is None else json.dumps(body).encode(), cookie)
    await app(exchange.scope, exchange.receive, exchange.send)
    return exchange


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/healthz", None),
        ("GET", "/api/cart", None),
        ("POST", "/api/cart/add", ITEM),
        ("PUT", "/api/cart/1", {"quantity": 3}),
        ("GET", "/visit-counter", None),
    ],
)
async def test_request_is_freed_without_garbage_collection(
    method: str, path: str, body: Any, without_collector: None
) -> None:
    app = create_app(load({"CART_SESSION_BACKEND": "memory"}))
    cookie = (await send_request(app, "POST", "/api/cart/add", ITEM)).cookie()
    await send_request(app, method, path, body, cookie)  # the first request creates permanent objects
    exchange = await send_request(app, method, path, body, cookie)
    assert exchange.messages[0]["status"] == 200
    gone = ref(exchange)
    del exchange
    assert gone() is None
