"""FastAPI with Starlette's SessionMiddleware: the session itself travels in a signed cookie."""

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel
from starlette.middleware.sessions import SessionMiddleware

from benchmarks.shop import cart_json, visits_json

app = FastAPI()
app.add_middleware(SessionMiddleware, secret_key="benchmark-benchmark-benchmark-01")


class Item(BaseModel):
    product_id: int
    name: str
    price: float
    quantity: int = 1


class Quantity(BaseModel):
    quantity: int


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
async def show(request: Request) -> dict[str, Any]:
    return cart_json(request.session.get("cart", []))


@app.post("/api/cart/add")
async def add(request: Request, new: Item) -> dict[str, Any]:
    cart = request.session.get("cart", [])
    line = next((item for item in cart if item["product_id"] == new.product_id), None)
    if line is None:
        cart.append(new.model_dump())
    else:
        line["quantity"] += new.quantity
    request.session["cart"] = cart
    return cart_json(cart)


@app.put("/api/cart/{product_id}")
async def set_quantity(request: Request, product_id: int, new: Quantity) -> dict[str, Any]:
    cart = request.session.get("cart", [])
    line = next((item for item in cart if item["product_id"] == product_id), None)
    if line is None:
        raise HTTPException(404, "Product not in cart")
    line["quantity"] = new.quantity
    request.session["cart"] = cart
    return cart_json(cart)


@app.get("/visit-counter")
async def visits(request: Request) -> dict[str, Any]:
    count = request.session.get("visit_count", 0) + 1
    request.session["visit_count"] = count
    return visits_json(count)
