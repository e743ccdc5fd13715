"""The same small application on cartapp.session and files: the layer without our shop around it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from benchmarks.shop import cart_json, visits_json
from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep

Items = list[dict[str, Any]]

app = FastAPI()
store = open_store(Path(os.environ["BENCH_FOLDER"], "sessions").as_uri())
app.add_middleware(SessionMiddleware, store=store, load="explicit")


class Item(BaseModel):
    product_id: int
    name: str
    price: float
    quantity: int = 1


class Quantity(BaseModel):
    quantity: int


async def changed(session: SessionDep, change: Callable[[Items], Items]) -> dict[str, Any]:
    session.modify("cart", change, [])
    await session.save()
    return cart_json(session["cart"])


@app.get("/ping")
async def ping() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/cart")
async def show(session: SessionDep) -> dict[str, Any]:
    return cart_json(session.get("cart", []))


@app.post("/api/cart/add")
async def add(session: SessionDep, new: Item) -> dict[str, Any]:
    def change(cart: Items) -> Items:
        line = next((item for item in cart if item["product_id"] == new.product_id), None)
        if line is None:
            return [*cart, new.model_dump()]
        line["quantity"] += new.quantity
        return cart

    return await changed(session, change)


@app.put("/api/cart/{product_id}")
async def set_quantity(session: SessionDep, product_id: int, new: Quantity) -> dict[str, Any]:
    def change(cart: Items) -> Items:
        line = next((item for item in cart if item["product_id"] == product_id), None)
        if line is None:
            raise HTTPException(404, "Product not in cart")
        line["quantity"] = new.quantity
        return cart

    return await changed(session, change)


@app.get("/visit-counter")
async def visits(session: SessionDep) -> dict[str, Any]:
    session.modify("visit_count", lambda count: count + 1, 0)
    await session.save()
    return visits_json(session["visit_count"])
