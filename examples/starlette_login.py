"""Login, logout and flash messages on plain Starlette. Run: uvicorn examples.starlette_login:app

Starlette reads forms with python-multipart.
"""

from html import escape

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from cartapp.session import SessionMiddleware, open_store, session_of

USERS = {"ada": "correct horse battery staple"}
"""An example. A real application stores password hashes."""

LOGIN = """<form method="post" action="/login">
<input name="name"><input name="password" type="password"><button>Log in</button></form>"""
LOGOUT = '<form method="post" action="/logout"><button>Log out</button></form>'


async def home(request: Request) -> Response:
    session = session_of(request)
    messages = await session.take_flashes("message")
    lines = [f"<p>{escape(text)}</p>" for text, _category in messages]
    if session.user_id is None:
        lines.append(LOGIN)
    else:
        lines.append(f"<p>{escape(session.user_id)}</p>{LOGOUT}")
    return HTMLResponse("\n".join(lines))


async def log_in(request: Request) -> Response:
    session = session_of(request)
    async with request.form() as form:
        name, password = str(form.get("name")), str(form.get("password"))
    if USERS.get(name) == password:
        session.log_in(name)  # a new session ID, so that a known old one is useless
        session.flash("message", f"Welcome, {name}.", "success")
    else:
        session.flash("message", "Invalid name or password.", "error")
    return RedirectResponse("/", 303)


async def log_out(request: Request) -> Response:
    session_of(request).destroy()
    return RedirectResponse("/", 303)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/login", log_in, methods=["POST"]),
        Route("/logout", log_out, methods=["POST"]),
    ],
    middleware=[Middleware(SessionMiddleware, store=open_store("memory://"))],
)
