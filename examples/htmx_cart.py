"""A cart with htmx: each button sends a request, and the response replaces the list.

Run: uvicorn examples.htmx_cart:app
"""

from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from cartapp.session import SessionMiddleware, open_store
from cartapp.session.fastapi import SessionDep

PRODUCTS = {"keyboard": "Keyboard", "mouse": "Mouse"}
PAGE = '<!doctype html><title>Cart</title><script src="/static/htmx.min.js"></script><div id="cart">{}</div>'

app = FastAPI()
app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
app.add_middleware(SessionMiddleware, store=open_store("memory://"), skip=["/static"])


def render(cart: dict[str, int]) -> str:
    return "\n".join(
        f"<p>{escape(name)}: {cart.get(key, 0)} "
        f'<button hx-post="/add/{key}" hx-target="#cart">Add</button>'
        f'<button hx-delete="/{key}" hx-target="#cart">Remove</button></p>'
        for key, name in PRODUCTS.items()
    )


def add_one(key: str, cart: dict[str, int]) -> dict[str, int]:
    """Return the cart with one more; a pure function, since it may run again on a newer cart."""
    return {**cart, key: cart.get(key, 0) + 1}


@app.get("/")
async def page(session: SessionDep) -> HTMLResponse:
    return HTMLResponse(PAGE.format(render(session.get("cart", {}))))


@app.post("/add/{key}")
async def add(session: SessionDep, key: str) -> HTMLResponse:
    if key in PRODUCTS:
        session.modify("cart", lambda cart: add_one(key, cart), {})
        await session.save()  # the list then shows what concurrent requests added, too
    return HTMLResponse(render(session.get("cart", {})))


@app.delete("/{key}")
async def remove(session: SessionDep, key: str) -> HTMLResponse:
    session.modify("cart", lambda cart: {name: n for name, n in cart.items() if name != key}, {})
    await session.save()
    return HTMLResponse(render(session.get("cart", {})))
