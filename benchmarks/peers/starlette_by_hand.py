"""Starlette with sessions by hand: see `by_hand`."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.bodies import Item, Quantity
from benchmarks.peers.by_hand import lifespan, load, save
from benchmarks.shop import cart_json, visits_json, with_product, with_quantity


async def ping(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def show(request: Request) -> JSONResponse:
    _, data = await load(request)
    return JSONResponse(cart_json(data.get("cart", [])))


async def add(request: Request) -> JSONResponse:
    new = Item.model_validate_json(await request.body())
    session_id, data = await load(request)
    data["cart"] = with_product(data.get("cart", []), new.model_dump())
    return await save(JSONResponse(cart_json(data["cart"])), session_id, data)


async def set_quantity(request: Request) -> JSONResponse:
    new = Quantity.model_validate_json(await request.body())
    session_id, data = await load(request)
    cart = with_quantity(data.get("cart", []), request.path_params["product_id"], new.quantity)
    if cart is None:
        raise HTTPException(404, "Product not in cart")
    data["cart"] = cart
    return await save(JSONResponse(cart_json(cart)), session_id, data)


async def visits(request: Request) -> JSONResponse:
    session_id, data = await load(request)
    data["visits"] = data.get("visits", 0) + 1
    return await save(JSONResponse(visits_json(data["visits"])), session_id, data)


app = Starlette(
    routes=[
        Route("/ping", ping),
        Route("/api/cart", show),
        Route("/api/cart/add", add, methods=["POST"]),
        Route("/api/cart/{product_id:int}", set_quantity, methods=["PUT"]),
        Route("/visit-counter", visits),
    ],
    lifespan=lifespan,
)
