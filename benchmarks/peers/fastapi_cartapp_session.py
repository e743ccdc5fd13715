"""The same small application on cartapp.session: the layer without our shop around it, on any backend.

Handlers load the session by a call, as those of `fastapi_by_hand` do. `SessionDep` adds FastAPI's dependency
solver, whichever session it provides.
"""

import os

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from benchmarks.bodies import Item, Quantity
from benchmarks.shop import Items, cart_json, visits_json, with_product, with_quantity
from cartapp.session import KeyRing, Session, SessionMiddleware, session_of

SECRET = "YmVuY2htYXJrLWJlbmNobWFyay1iZW5jaG1hcmstMDE"

app = FastAPI()
if url := os.environ["BENCH_SESSIONS"]:  # empty: the same application without the layer
    keys = KeyRing(SECRET) if url == "cookie://" else None
    app.add_middleware(SessionMiddleware, store=url, keys=keys, load="explicit", ttl=1800)


@app.get("/ping")
async def ping() -> JSONResponse:
    return JSONResponse({"status": "ok"})


@app.get("/api/cart")
async def show(request: Request) -> JSONResponse:
    session = await session_of(request).load()
    return JSONResponse(cart_json(session.get("cart", [])))


@app.post("/api/cart/add")
async def add(request: Request, new: Item) -> JSONResponse:
    session = await session_of(request).load()
    session.modify("cart", lambda cart: with_product(cart, new.model_dump()), [])
    return await saved_cart(session)


@app.put("/api/cart/{product_id}")
async def set_quantity(request: Request, product_id: int, new: Quantity) -> JSONResponse:
    session = await session_of(request).load()

    def change(cart: Items) -> Items:
        changed = with_quantity(cart, product_id, new.quantity)
        if changed is None:
            raise HTTPException(404, "Product not in cart")
        return changed

    session.modify("cart", change, [])
    return await saved_cart(session)


@app.get("/visit-counter")
async def visits(request: Request) -> JSONResponse:
    session = await session_of(request).load()
    session.modify("visits", lambda count: count + 1, 0)
    await session.save()
    return JSONResponse(visits_json(session["visits"]))


async def saved_cart(session: Session) -> JSONResponse:
    await session.save()
    return JSONResponse(cart_json(session["cart"]))
