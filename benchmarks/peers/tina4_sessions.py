"""tina4-python with its sessions, in files or on Redis, which its own variables choose."""

import os
from typing import Any
from urllib.parse import urlsplit

from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

url = urlsplit(os.environ["BENCH_SESSIONS"])
if url.scheme == "redis":
    os.environ["TINA4_SESSION_BACKEND"] = "redis"
    os.environ["TINA4_SESSION_REDIS_HOST"] = str(url.hostname)
    os.environ["TINA4_SESSION_REDIS_PORT"] = str(url.port)
    os.environ["TINA4_SESSION_REDIS_DB"] = url.path.strip("/")
else:
    os.environ["TINA4_SESSION_PATH"] = url.path
os.environ["TINA4_SESSION_TTL"] = "1800"

from tina4_python.core.router import get, noauth, post, put  # noqa: E402 - reads its variables
from tina4_python.core.server import asgi  # noqa: E402


@get("/ping")
async def ping(request: Any, response: Any) -> Any:
    return response({"status": "ok"})


@get("/api/cart")
async def show(request: Any, response: Any) -> Any:
    return response(cart_json(request.session.get("cart", [])))


@noauth()
@post("/api/cart/add")
async def add(request: Any, response: Any) -> Any:
    cart = with_product(request.session.get("cart", []), request.body)
    request.session.set("cart", cart)
    return response(cart_json(cart))


@noauth()
@put("/api/cart/{product_id:int}")
async def set_quantity(product_id: int, request: Any, response: Any) -> Any:
    cart = with_quantity(request.session.get("cart", []), product_id, request.body["quantity"])
    if cart is None:
        return response({"error": "Product not in cart"}, 404)
    request.session.set("cart", cart)
    return response(cart_json(cart))


@get("/visit-counter")
async def visits(request: Any, response: Any) -> Any:
    count = request.session.get("visits", 0) + 1
    request.session.set("visits", count)
    return response(visits_json(count))


app = asgi()
