"""Litestar with its server-side sessions, on Redis or in files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, get, post, put
from litestar.exceptions import NotFoundException
from litestar.middleware.session.server_side import ServerSideSessionConfig
from litestar.stores.base import Store
from litestar.stores.file import FileStore
from litestar.stores.redis import RedisStore

from benchmarks.shop import cart_json, visits_json, with_product, with_quantity


@dataclass
class Item:
    product_id: int
    name: str
    price: float
    quantity: int = 1


@dataclass
class Quantity:
    quantity: int


@get("/ping", opt={"skip_session": True})
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@get("/api/cart")
async def show(request: Request) -> dict[str, Any]:
    return cart_json(request.session.get("cart", []))


@post("/api/cart/add", status_code=200)
async def add(request: Request, data: Item) -> dict[str, Any]:
    cart = request.session["cart"] = with_product(request.session.get("cart", []), vars(data))
    return cart_json(cart)


@put("/api/cart/{product_id:int}")
async def set_quantity(request: Request, product_id: int, data: Quantity) -> dict[str, Any]:
    cart = with_quantity(request.session.get("cart", []), product_id, data.quantity)
    if cart is None:
        raise NotFoundException("Product not in cart")
    request.session["cart"] = cart
    return cart_json(cart)


@get("/visit-counter")
async def visits(request: Request) -> dict[str, Any]:
    count = request.session["visits"] = request.session.get("visits", 0) + 1
    return visits_json(count)


def store(url: str) -> Store:
    if url.startswith("redis://"):
        return RedisStore.with_client(url)
    return FileStore(Path(url.removeprefix("file://")), create_directories=True)


app = Litestar(
    [ping, show, add, set_quantity, visits],
    middleware=[ServerSideSessionConfig(max_age=1800, exclude_opt_key="skip_session").middleware],
    stores={"sessions": store(os.environ["BENCH_SESSIONS"])},
)
