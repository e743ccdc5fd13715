"""The same small application on cartapp.session: the layer without our shop around it, on any backend."""

import os

from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

from benchmarks.bodies import Item, Quantity
from benchmarks.shop import Items, cart_json, visits_json, with_product, with_quantity
from cartapp.session import Session, SessionMiddleware, open_store
from cartapp.session.carriers import CookieCarrier
from cartapp.session.direct import DirectRoute
from cartapp.session.fastapi import SessionDep
from cartapp.session.keys import KeyRing

SECRET = "YmVuY2htYXJrLWJlbmNobWFyay1iZW5jaG1hcmstMDE"

app = FastAPI()
app.router.route_class = DirectRoute
if url := os.environ["BENCH_SESSIONS"]:  # empty: the same application without the layer
    carrier = CookieCarrier(KeyRing(SECRET), "cart_session") if url == "cookie://" else None
    app.add_middleware(SessionMiddleware, store=open_store(url), carrier=carrier, load="explicit", ttl=1800)


@app.get("/ping")
async def ping() -> JSONResponse:
    return JSONResponse({"status": "ok"})


@app.get("/api/cart")
async def show(session: SessionDep) -> JSONResponse:
    return JSONResponse(cart_json(session.get("cart", [])))


@app.post("/api/cart/add")
async def add(session: SessionDep, new: Item) -> JSONResponse:
    session.modify("cart", lambda cart: with_product(cart, new.model_dump()), [])
    return await saved_cart(session)


@app.put("/api/cart/{product_id}")
async def set_quantity(session: SessionDep, product_id: int, new: Quantity) -> JSONResponse:
    def change(cart: Items) -> Items:
        changed = with_quantity(cart, product_id, new.quantity)
        if changed is None:
            raise HTTPException(404, "Product not in cart")
        return changed

    session.modify("cart", change, [])
    return await saved_cart(session)


@app.get("/visit-counter")
async def visits(session: SessionDep) -> JSONResponse:
    session.modify("visits", lambda count: count + 1, 0)
    await session.save()
    return JSONResponse(visits_json(session["visits"]))


async def saved_cart(session: Session) -> JSONResponse:
    await session.save()
    return JSONResponse(cart_json(session["cart"]))
