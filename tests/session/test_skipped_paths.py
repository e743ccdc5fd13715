"""The prefixes `skip` are paths within the application, also below a path of a proxy and in a mount."""

from collections.abc import Callable

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from cartapp.session import SessionManager, SessionMiddleware, session_of
from tests.support.asgi_server import run_asgi
from tests.support.starlette_app import CountingStore

pytestmark = pytest.mark.anyio


async def page(_request: Request) -> Response:
    return HTMLResponse("<p>page")


async def write(request: Request) -> Response:
    session_of(request)["item"] = "tea"
    return HTMLResponse("<p>stored")


ROUTES: list[BaseRoute] = [
    Route("/page", page),
    Route("/write", write, methods=["POST"]),
    Route("/healthz", page),
    Mount("/static", routes=[Route("/page", page)]),
]
SKIP = ["/static", "/healthz"]


def create_app(manager: SessionManager, prefix: str = "") -> Starlette:
    """Return an application that skips `SKIP`, each after the prefix."""
    skip = [prefix + path for path in SKIP]
    middleware = Middleware(SessionMiddleware, manager=manager, skip=skip)
    return Starlette(routes=[Mount(prefix, routes=ROUTES)] if prefix else ROUTES, middleware=[middleware])


def at_root(manager: SessionManager) -> ASGIApp:
    return create_app(manager)


def mounted(manager: SessionManager) -> ASGIApp:
    return Starlette(routes=[Mount("/in", create_app(manager))])


def around_a_mount(manager: SessionManager) -> ASGIApp:
    return create_app(manager, "/in")


@pytest.mark.parametrize("root_path", ["", "/shop"])
@pytest.mark.parametrize(("build", "prefix"), [(at_root, ""), (mounted, "/in"), (around_a_mount, "/in")])
async def test_skipped_paths_neither_load_nor_create(
    build: Callable[[SessionManager], ASGIApp], prefix: str, root_path: str
) -> None:
    store = CountingStore()
    manager = SessionManager.from_options(store, eager=True)
    # The proxy removes the root path, and the server restores it in `path`.
    async with (
        run_asgi(build(manager), H11Protocol, root_path=root_path) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}{prefix}") as client,
    ):
        for path in ("/static/page", "/healthz"):
            assert "set-cookie" not in (await client.get(path)).headers
        assert store.calls == []
        assert "set-cookie" in (await client.get("/page")).headers
        await client.post("/write")
        store.calls.clear()
        for path in ("/static/page", "/healthz"):
            await client.get(path)
        assert store.calls == []
        await client.get("/page")
        assert store.calls == ["load"]


async def test_a_path_that_merely_begins_like_the_root_path() -> None:
    store = CountingStore()
    app = create_app(SessionManager(store))
    transport = httpx.ASGITransport(app, root_path="/stat")
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
        await client.post("/stat/write")
        store.calls.clear()
        await client.get("/static/page")
    assert store.calls == []
