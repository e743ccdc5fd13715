"""C11: eager sessions begin with the first page, and with nothing else."""

import logging
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from cartapp.session import SessionMiddleware
from cartapp.session.stores.base import Store
from tests.conftest import ManualClock
from tests.shop import browser, started, take
from tests.small_app import Counted, client, session_of
from tests.stores import STORES

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> Counted:
    return Counted(clock=clock)


async def page(request: Request) -> Response:
    """A page that knows no session; its status and type as the query says."""
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
async def test_c11_the_first_page_brings_cookie_and_record(
    store: Counted, clock: ManualClock, path: str, load: str
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
async def test_c11_nothing_else_does(store: Counted, clock: ManualClock, method: str, path: str) -> None:
    async with eager(store, clock) as http:
        response = await http.request(method, path)
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_c11_a_prefetched_page_brings_none(store: Counted, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        response = await http.get("/reading", headers={"Sec-Purpose": "prefetch"})
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_c11_a_page_that_ends_the_session_begins_no_other(store: Counted, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        await http.get("/writing")
        store.calls.clear()
        response = await http.get("/leaving")
    assert "Max-Age=0" in response.headers["set-cookie"]
    assert "create" not in store.calls


@pytest.mark.promise(2)
@pytest.mark.parametrize("load", ["auto", "explicit"])
@pytest.mark.parametrize("backend", ["memory", "redis"])
async def test_a_page_that_ends_a_session_with_a_former_cookie_undoes_no_log_in(
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
            take(http, former)
            response = await http.get(path)
            assert (response.status_code, response.headers.get("set-cookie")) == (200, None)
        take(http, present)
        assert (await http.get("/reading")).text == "Alice"
    await store.close()


async def test_a_page_that_ends_no_session_begins_none(store: Counted, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        response = await http.get("/leaving")
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_c11_a_session_that_has_expired_begins_again(store: Counted, clock: ManualClock) -> None:
    async with eager(store, clock) as http:
        await http.get("/page")
        clock.advance(5000)
        assert "set-cookie" in (await http.get("/reading")).headers


async def test_c11_an_outage_takes_no_page_from_a_new_visitor(
    store: Counted, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.failing = True
    async with eager(store, clock) as http:
        for path in ("/page", "/reading"):
            response = await http.get(path)
            assert response.status_code == 200
            assert "set-cookie" not in response.headers
        assert (await http.get("/writing")).status_code == 503  # what is to be stored is another matter
        store.failing = False
        assert "set-cookie" in (await http.get("/page")).headers
    lines = [record for record in caplog.records if "no session was begun" in record.getMessage()]
    assert [record.levelno for record in lines] == [logging.WARNING] * 2


async def test_c11_in_the_shop() -> None:
    async with started(session_eager=True, metrics=True) as app, browser(app) as http:
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


async def test_c11_a_health_check_answers_while_the_store_is_down(
    store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartapp.app.store_of", lambda *_: store)
    store.failing = True
    async with started(session_eager=True) as app, browser(app) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        response = await http.get("/")
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
        assert (await http.get("/api/cart")).status_code == 200
        assert store.calls == ["create"]  # by the page
