"""FastAPI with sessions by hand: see `by_hand`."""

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from benchmarks.bodies import Item, Quantity
from benchmarks.peers.by_hand import lifespan, load, save
from benchmarks.shop import cart_json, visits_json, with_product, with_quantity

app = FastAPI(lifespan=lifespan)


@app.get("/ping")
async def ping() -> JSONResponse:
    return JSONResponse({"status": "ok"})


@app.get("/api/cart")
async def show(request: Request) -> JSONResponse:
    _, data = await load(request)
    return JSONResponse(cart_json(data.get("cart", [])))


@app.post("/api/cart/add")
async def add(request: Request, new: Item) -> JSONResponse:
    session_id, data = await load(request)
    data["cart"] = with_product(data.get("cart", []), new.model_dump())
    return await save(JSONResponse(cart_json(data["cart"])), session_id, data)


@app.put("/api/cart/{product_id}")
async def set_quantity(request: Request, product_id: int, new: Quantity) -> JSONResponse:
    session_id, data = await load(request)
    cart = with_quantity(data.get("cart", []), product_id, new.quantity)
    if cart is None:
        raise HTTPException(404, "Product not in cart")
    data["cart"] = cart
    return await save(JSONResponse(cart_json(cart)), session_id, data)


@app.get("/visit-counter")
async def visits(request: Request) -> JSONResponse:
    session_id, data = await load(request)
    data["visits"] = data.get("visits", 0) + 1
    return await save(JSONResponse(visits_json(data["visits"])), session_id, data)
