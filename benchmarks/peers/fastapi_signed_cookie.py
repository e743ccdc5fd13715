"""FastAPI with Starlette's SessionMiddleware: the session itself travels in a signed cookie."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.middleware.sessions import SessionMiddleware

from benchmarks.bodies import Item, Quantity
from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="benchmark-benchmark-benchmark-01")


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
async def show(request: Request) -> dict[str, Any]:
    return cart_json(request.session.get("cart", []))


@app.post("/api/cart/add")
async def add(request: Request, new: Item) -> dict[str, Any]:
    cart = request.session["cart"] = with_product(request.session.get("cart", []), new.model_dump())
    return cart_json(cart)


@app.put("/api/cart/{product_id}")
async def set_quantity(request: Request, product_id: int, new: Quantity) -> dict[str, Any]:
    cart = with_quantity(request.session.get("cart", []), product_id, new.quantity)
    if cart is None:
        raise HTTPException(404, "Product not in cart")
    request.session["cart"] = cart
    return cart_json(cart)


@app.get("/visit-counter")
async def visits(request: Request) -> dict[str, Any]:
    count = request.session["visits"] = request.session.get("visits", 0) + 1
    return visits_json(count)
