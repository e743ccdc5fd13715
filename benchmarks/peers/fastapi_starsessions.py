"""FastAPI with starsessions on Redis, loaded by the handlers that need the session."""

import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from redis.asyncio import Redis
from starsessions import SessionMiddleware, load_session
from starsessions.stores.redis import RedisStore

from benchmarks.bodies import Item, Quantity
from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

app = FastAPI()
app.add_middleware(
    SessionMiddleware,
    store=RedisStore(connection=Redis.from_url(os.environ["BENCH_SESSIONS"])),
    lifetime=1800,
    rolling=True,
    cookie_https_only=False,
)


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
async def show(request: Request) -> dict[str, Any]:
    await load_session(request)
    return cart_json(request.session.get("cart", []))


@app.post("/api/cart/add")
async def add(request: Request, new: Item) -> dict[str, Any]:
    await load_session(request)
    cart = request.session["cart"] = with_product(request.session.get("cart", []), new.model_dump())
    return cart_json(cart)


@app.put("/api/cart/{product_id}")
async def set_quantity(request: Request, product_id: int, new: Quantity) -> dict[str, Any]:
    await load_session(request)
    cart = with_quantity(request.session.get("cart", []), product_id, new.quantity)
    if cart is None:
        raise HTTPException(404, "Product not in cart")
    request.session["cart"] = cart
    return cart_json(cart)


@app.get("/visit-counter")
async def visits(request: Request) -> dict[str, Any]:
    await load_session(request)
    count = request.session["visits"] = request.session.get("visits", 0) + 1
    return visits_json(count)
