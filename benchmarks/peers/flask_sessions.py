"""Flask with Flask-Session, on Redis or in files."""

import os
from typing import Any

from cachelib.file import FileSystemCache
from flask import Flask, abort, request, session
from flask_session import Session
from redis import Redis

from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

url = os.environ["BENCH_SESSIONS"]

app = Flask(__name__)
app.config["PERMANENT_SESSION_LIFETIME"] = 1800
if url.startswith("redis://"):
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(url))
else:
    # Its default threshold, 500 files, is above what the benchmark makes.
    app.config.update(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(url.removeprefix("file://")))
Session(app)


@app.get("/ping")
def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
def show() -> dict[str, Any]:
    return cart_json(session.get("cart", []))


@app.post("/api/cart/add")
def add() -> dict[str, Any]:
    cart = session["cart"] = with_product(session.get("cart", []), request.get_json())
    return cart_json(cart)


@app.put("/api/cart/<int:product_id>")
def set_quantity(product_id: int) -> dict[str, Any]:
    cart = with_quantity(session.get("cart", []), product_id, request.get_json()["quantity"])
    if cart is None:
        abort(404, "Product not in cart")
    session["cart"] = cart
    session.modified = True  # the list itself was changed in place
    return cart_json(cart)


@app.get("/visit-counter")
def visits() -> dict[str, Any]:
    count = session["visits"] = session.get("visits", 0) + 1
    return visits_json(count)
