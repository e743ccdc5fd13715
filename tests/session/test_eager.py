"""Eager sessions are created by the first page, and by no other response."""

import logging
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from cartapp.session import SessionMiddleware, session_of
from cartapp.session.stores.base import Store
from tests.conftest import ManualClock
from tests.support.shop import browser, running_app, set_cookies
from tests.support.starlette_app import CountingStore, client
from tests.support.stores import STORES

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock=clock)


async def page(request: Request) -> Response:
    """A page without a session; the query sets its status and type."""
    query = request.query_params
    headers = {"Content-Type": query["type"]} if "type" in query else {}
    return HTMLResponse("<p>page", int(query.get("status", 200)), headers)


async def reading(request: Request) -> Response:
    session = await session_of(request).load()
    return HTMLResponse(str(session.get("name")))


async def writing(request: Request) -> Response:
    session = await session_of(request).load()
    session["name"] = "Alice"
    return HTMLResponse("stored")


async def logging_in(request: Request) -> Response:
    session = await session_of(request).load()
    session.log_in("7")
    return HTMLResponse("logged in")


async def leaving(request: Request) -> Response:
    session = await session_of(request).load()
    session.destroy()
    return HTMLResponse("gone")


async def plain(request: Request) -> Response:
    await session_of(request).load()
    return PlainTextResponse("plain")


async def saving(request: Request) -> Response:
    await (await session_of(request).load()).save()
    return PlainTextResponse("saved")


def eager(store: Store, clock: ManualClock, **options: Any) -> httpx.AsyncClient:
    routes = [
        Route("/page", page, methods=["GET", "POST", "OPTIONS"]),
        Route("/static/page", page),
        Route("/reading", reading),
        Route("/writing", writing),
        Route("/logging-in", logging_in),
        Route("/leaving", leaving),
        Route("/plain", plain),
        Route("/saving", saving),
    ]
    app = Starlette(routes=routes)
    options = {"load": "explicit", "skip": ["/static/"], **options}
    app.add_middleware(SessionMiddleware, store=store, clock=clock, eager=True, **options)
    return client(app)


@pytest.mark.parametrize("load", ["auto", "explicit"])
@pytest.mark.parametrize("path", ["/page", "/reading", "/page?type=Text/HTML"])
async def test_the_first_page_creates_a_cookie_and_a_record(
    store: CountingStore, clock: ManualClock, path: str, load: str
) -> None:
    async with eager(store, clock, load=load) as http:
        response = await http.get(path)
        assert "set-cookie" in response.headers
        assert response.headers["cache-control"] == "no-store"
        assert store.calls == ["create"]
        for again in (path, "/page", "/reading"):
            assert "set-cookie" not in (await http.get(again)).headers
        assert "create" not in store.calls[1:]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/page?type=application/json"),
        ("GET", "/page?type="),
        ("GET", "/page?status=404"),
        ("GET", "/page?status=500"),
        ("GET", "/page?status=204"),
        ("GET", "/nowhere"),
        ("GET", "/static/page"),
        ("GET", "/plain"),
        ("GET", "/saving"),
        ("HEAD", "/page"),
        ("POST", "/page"),
        ("OPTIONS", "/page"),
    ],
)
async def test_other_responses_create_no_session(
    store: CountingStore, clock: ManualClock, method: str, path: str
) -> None:
    async with eager(store, clock) as http:
        response = await http.request(method, path)
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_a_prefetched_page_creates_no_session(store: CountingStore, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        response = await http.get("/reading", headers={"Sec-Purpose": "prefetch"})
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_a_page_that_ends_the_session_creates_no_other(
    store: CountingStore, clock: ManualClock
) -> None:
    async with eager(store, clock) as http:
        await http.get("/writing")
        store.calls.clear()
        response = await http.get("/leaving")
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert "create" not in store.calls


@pytest.mark.promise(2)
@pytest.mark.parametrize("load", ["auto", "explicit"])
@pytest.mark.parametrize("backend", ["memory", "redis"])
async def test_ending_a_session_with_a_former_cookie_keeps_the_log_in(
    request: pytest.FixtureRequest, backend: str, clock: ManualClock, load: str
) -> None:
    store = STORES[backend](request, clock)()
    async with eager(store, clock, load=load) as http:
        await http.get("/writing")
        former = dict(http.cookies)
        await http.get("/logging-in")
        present = dict(http.cookies)
        assert present != former
        for path in ("/leaving", "/reading", "/page"):
            set_cookies(http, former)
            response = await http.get(path)
            assert (response.status_code, response.headers.get("set-cookie")) == (200, None)
        set_cookies(http, present)
        assert (await http.get("/reading")).text == "Alice"
    await store.close()


async def test_destroy_without_a_session_creates_none(store: CountingStore, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        response = await http.get("/leaving")
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_an_expired_session_is_replaced_by_a_page(store: CountingStore, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        await http.get("/page")
        clock.advance(5000)
        assert "set-cookie" in (await http.get("/reading")).headers


async def test_a_new_client_gets_pages_during_an_outage(
    store: CountingStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.failing = True
    async with eager(store, clock) as http:
        for path in ("/page", "/reading"):
            response = await http.get(path)
            assert response.status_code == 200
            assert "set-cookie" not in response.headers
        assert (await http.get("/writing")).status_code == 503  # a request that stores data fails
        store.failing = False
        assert "set-cookie" in (await http.get("/page")).headers
    lines = [record for record in caplog.records if "Created no session" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.WARNING] * 2


async def test_eager_sessions_of_the_shop() -> None:
    async with running_app(session_eager=True, metrics=True) as app, browser(app) as http:
        for method, path in [
            ("GET", "/healthz"),
            ("GET", "/readyz"),
            ("GET", "/metrics"),
            ("GET", "/static/style.css"),
            ("GET", "/nowhere"),
            ("GET", "/api/cart"),
            ("GET", "/dashboard"),
            ("OPTIONS", "/"),
            ("HEAD", "/"),
        ]:
            response = await http.request(method, path)
            assert "set-cookie" not in response.headers, path
        assert await _count(app) == 0
        for path in ("/", "/cart", "/login"):
            http.cookies.clear()
            assert "set-cookie" in (await http.get(path)).headers
        assert await _count(app) == 3


async def _count(app: Any) -> int:
    return len([found async for found in app.state.sessions.find()])


async def test_the_health_check_responds_while_the_store_is_down(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartapp.app.create_store", lambda *_: store)
    store.failing = True
    async with running_app(session_eager=True) as app, browser(app) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        response = await http.get("/")
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
        assert (await http.get("/api/cart")).status_code == 200
        assert store.calls == ["create"]  # by the page
