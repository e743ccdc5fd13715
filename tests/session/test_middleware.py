"""The middleware in Starlette and FastAPI applications, over HTTP and WebSocket."""

import asyncio
import inspect
import logging
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cartapp.session import SessionError, SessionMiddleware, StoreUnavailable, session_of
from cartapp.session.crypto import KeyRing, new_secret
from cartapp.session.fastapi import SessionDep, typed
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.starlette_app import AppFactory, CountingStore, client

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock=clock)


IN_A_STREAM = pytest.RaisesGroup(
    pytest.RaisesExc(SessionError, match="response that has started"), allow_unwrapped=True
)
"""Starlette before 0.46 raises errors of a stream in an `ExceptionGroup`."""


# -- the drop-in ------------------------------------------------------------------------------------------


async def test_code_for_starlettes_session_middleware_works(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        assert (await http.get("/view")).json() == {"session": {}}
        response = await http.post("/update", json={"some": "data", "list": []})
        assert response.json() == {"session": {"some": "data", "list": []}}
        await http.post("/append")
        assert (await http.get("/view")).json() == {"session": {"some": "data", "list": [1]}}
        assert (await http.post("/clear")).json() == {"session": {}}
        assert (await http.get("/view")).json() == {"session": {}}


async def test_store_operations_per_request(
    wrap: AppFactory, store: CountingStore, clock: ManualClock
) -> None:
    async with client(wrap(load="explicit")) as http:
        await http.get("/ping")
        assert store.calls == []
    async with client(wrap()) as http:
        response = await http.get("/view")
        assert store.calls == []
        assert "set-cookie" not in response.headers
        await http.post("/update", json={"a": 1})
        assert store.calls == ["create"]
        store.calls.clear()
        response = await http.get("/view")
        assert store.calls == ["load"]
        assert "set-cookie" not in response.headers
        store.calls.clear()
        await http.post("/update", json={"a": 2})
        assert store.calls == ["load", "save"]
        store.calls.clear()
        clock.advance(360)
        await http.get("/view")
        assert store.calls == ["load", "touch"]


async def test_explicit_loading(wrap: AppFactory) -> None:
    async with client(wrap(load="explicit")) as http:
        with pytest.raises(Exception, match="not loaded"):
            await http.get("/view")
        assert (await http.get("/ping")).text == "pong"


async def test_skipped_paths_load_nothing(wrap: AppFactory, store: CountingStore) -> None:
    async with client(wrap(skip=["/static/"])) as http:
        await http.post("/update", json={"a": 1})
        store.calls.clear()
        await http.get("/static/ping")
        assert store.calls == []
        with pytest.raises(Exception, match="not loaded"):
            await http.get("/static/view")


# -- the response -----------------------------------------------------------------------------------------


async def test_responses_that_read_the_session_vary_by_cookie_and_are_not_cached(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        response = await http.get("/view")
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "no-store"
        response = await http.get("/ping")
        assert "vary" not in response.headers
        assert "cache-control" not in response.headers


async def test_session_of_is_an_access(store: CountingStore) -> None:
    """The JSON encoder calls no method of an empty dict."""

    async def view(request: HTTPConnection) -> Response:
        return JSONResponse(session_of(request))

    app = Starlette(routes=[Route("/", view)])
    app.add_middleware(SessionMiddleware, store=store)
    async with client(app) as http:
        response = await http.get("/")
        assert response.json() == {}
        assert response.headers["vary"] == "Cookie"


@pytest.mark.skipif(
    "mark_accessed" not in inspect.getsource(HTTPConnection), reason="Starlette before 1.0 does not report it"
)
async def test_request_session_alone_is_an_access(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        response = await http.get("/view")
        assert response.json() == {"session": {}}
        assert response.headers["vary"] == "Cookie"
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("private, max-age=5", "private, max-age=5"),
        ("no-store", "no-store"),
        ("public, max-age=5", "no-store"),
    ],
)
async def test_private_caching_headers_of_a_handler_are_kept(wrap: AppFactory, given: str, sent: str) -> None:
    async with client(wrap()) as http:
        assert (await http.get("/caching", params={"cache": given})).headers["cache-control"] == sent


async def test_a_failed_request_commits_only_destroy(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        assert (await http.post("/fail")).status_code == 500
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
        response = await http.post("/fail?destroy=1")
        assert response.status_code == 500
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert (await http.get("/view")).json() == {"session": {}}


async def test_too_large_is_413_with_the_limit(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        response = await http.post("/big")
        assert response.status_code == 413
        assert "65536" in response.json()["error"]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_an_outage_is_503_and_keeps_the_cookie(wrap: AppFactory, store: CountingStore) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        store.failing = True
        for method, path in (("GET", "/view"), ("POST", "/update"), ("POST", "/destroy")):
            response = await http.request(method, path, json={})
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "set-cookie" not in response.headers
        response = await http.get("/ping")  # needs no session: the outage is raised at the first access
        assert (response.status_code, response.text) == (200, "pong")
        assert "set-cookie" not in response.headers
        store.failing = False
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    store.failing = True
    async with client(wrap()) as visitor:
        assert (await visitor.get("/view")).status_code == 200
        assert (await visitor.post("/update", json={"a": 1})).status_code == 503


async def test_a_failed_commit_replaces_the_response(wrap: AppFactory, store: CountingStore) -> None:
    async with client(wrap(load="auto")) as http:
        await http.post("/update", json={"a": 1})
        original = store.save

        async def refuse(record: Record, *, expected: Version) -> Version | None:
            raise StoreUnavailable("read-only")

        store.save = refuse  # type: ignore[method-assign]
        response = await http.post("/update", json={"a": 2})
        assert response.status_code == 503
        assert "session" not in response.json()
        store.save = original  # type: ignore[method-assign]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_a_failed_keep_alive_does_not_fail_the_request(
    wrap: AppFactory, store: CountingStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        clock.advance(400)

        async def refuse(key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            raise StoreUnavailable("read-only")

        store.touch = refuse  # type: ignore[method-assign]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    assert "Keep-alive" in caplog.text


async def test_error_response_replaces_the_default_response(wrap: AppFactory, store: CountingStore) -> None:
    def apology(scope: object, error: Exception) -> Response:
        return PlainTextResponse(type(error).__name__, 503)

    store.failing = True
    async with client(wrap(error_response=apology)) as http:
        assert (await http.post("/update", json={"a": 1})).text == "StoreUnavailable"


class Full(Exception):
    """An error of the application, raised by a function given to `modify`."""


def application_with_full_lists() -> tuple[FastAPI, asyncio.Event, asyncio.Event]:
    """An application with a slow handler that changes a list; events: changed, and may continue."""
    app, changed, may_go_on = FastAPI(), asyncio.Event(), asyncio.Event()

    def add(number: int) -> int:
        if number:
            raise Full
        return number + 1

    @app.post("/add")
    async def add_one(request: Request, wait: bool = False) -> dict[str, str]:
        session_of(request).modify("n", add, 0)
        if wait:
            changed.set()
            await may_go_on.wait()
        return {"status": "added"}

    @app.get("/empty")
    async def empty(request: Request) -> None:
        request.session["n"] = 0

    return app, changed, may_go_on


async def fill_during_a_request(app: Any, changed: asyncio.Event, go_on: asyncio.Event) -> Any:
    app.add_middleware(SessionMiddleware, store=MemoryStore())
    async with client(app) as http:
        await http.get("/empty")
        slow = asyncio.create_task(http.post("/add?wait=1"))
        await changed.wait()
        assert (await http.post("/add")).status_code == 200
        go_on.set()
        return await slow


async def test_exception_handlers_get_errors_of_modify_from_the_last_commit() -> None:
    app, *events = application_with_full_lists()
    app.add_exception_handler(Full, lambda request, error: PlainTextResponse("full", 409))
    response = await fill_during_a_request(app, *events)
    assert (response.status_code, response.text) == (409, "full")
    assert response.headers["cache-control"] == "no-store"


async def test_exception_handlers_of_a_mounted_application_are_used() -> None:
    mounted, *events = application_with_full_lists()
    app = Starlette(routes=[Mount("/", mounted)])
    app.add_exception_handler(Full, lambda request, error: PlainTextResponse("outer", 409))
    response = await fill_during_a_request(app, *events)
    assert (response.status_code, response.text) == (409, "outer")


async def test_without_an_exception_handler_the_response_is_500() -> None:
    app, *events = application_with_full_lists()
    app.add_exception_handler(Exception, lambda request, error: PlainTextResponse("sorry", 500))
    with pytest.raises(Full):  # propagates to the server after the 500
        await fill_during_a_request(app, *events)


async def test_streams_commit_before_the_first_byte(wrap: AppFactory) -> None:
    async with client(wrap()) as http:
        response = await http.get("/stream")
        assert response.text == "firstlast"
        assert (await http.get("/view")).json() == {"session": {"early": 1}}
        await http.get("/stream?save=1")
        assert (await http.get("/view")).json() == {"session": {"early": 1, "late": 1}}


async def test_changes_that_need_a_cookie_raise_after_the_response_has_started(
    wrap: AppFactory, store: CountingStore
) -> None:
    async with client(wrap()) as http:
        with IN_A_STREAM:
            await http.get("/stream?late=1&save=1")
        assert store.calls == []  # no session without a cookie is created
        await http.get("/stream")
        with IN_A_STREAM:
            await http.get("/stream?rotate=1&save=1")
        assert (await http.get("/view")).json() == {"session": {"early": 1}}  # its ID is still valid


async def test_the_cookie_store_cannot_save_after_the_response_has_started(wrap: AppFactory) -> None:
    app = wrap(store="cookie://", keys=KeyRing(new_secret()))
    async with client(app) as http:
        await http.post("/update", json={"a": 1})
        with IN_A_STREAM:
            await http.get("/stream?late=1&save=1")
    with TestClient(app, base_url="https://testserver") as browser:
        browser.post("/update", json={"a": 1})
        with browser.websocket_connect("wss://testserver/socket") as ws:
            assert "a WebSocket" in ws.receive_json()["error"]


async def test_head_changes_nothing(wrap: AppFactory, store: CountingStore, clock: ManualClock) -> None:
    async with client(wrap()) as http:
        response = await http.head("/stream")
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
        await http.post("/update", json={"a": 1})
        clock.advance(400)
        store.calls.clear()
        await http.head("/stream")
        assert store.calls == ["load"]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_the_id_appears_in_set_cookie_only(
    wrap: AppFactory, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(wrap()) as http:
        response = await http.post("/update", json={"a": 1})
        cookie = response.cookies["__Host-cart_session"]
        responses = [response, await http.get("/view"), await http.post("/big"), await http.post("/destroy")]
    for each in responses:
        others = [value for name, value in each.headers.items() if name != "set-cookie"]
        assert cookie not in each.text + "".join(others)
    ours = [line.getMessage() for line in caplog.records if line.name.startswith("cartapp")]
    assert ours
    assert not any(cookie in line for line in ours)


# -- WebSocket --------------------------------------------------------------------------------------------


def test_a_websocket_saves_only_by_save(wrap: AppFactory) -> None:
    with TestClient(wrap(), base_url="https://testserver") as http:
        with http.websocket_connect("wss://testserver/socket") as ws:
            assert "a WebSocket" in ws.receive_json()["error"]
        http.post("/update", json={"a": 1})
        with http.websocket_connect("wss://testserver/socket") as ws:
            assert ws.receive_json() == {"session": {"a": 1, "socket": 1}}
        assert http.get("/view").json() == {"session": {"a": 1, "socket": 1}}


def test_a_websocket_is_rejected_while_the_store_is_down(wrap: AppFactory, store: CountingStore) -> None:
    with TestClient(wrap(), base_url="https://testserver") as http:
        http.post("/update", json={"a": 1})
        store.failing = True
        with (
            pytest.raises(WebSocketDisconnect) as refusal,
            http.websocket_connect("wss://testserver/socket"),
        ):
            pass
        assert refusal.value.code == 1013


# -- FastAPI ----------------------------------------------------------------------------------------------


class Shop:
    username: str = "example"
    visits: int = 0
    cart: list[int] = []  # noqa: RUF012 - the point: every session gets its own


async def test_fastapi_dependencies_and_the_typed_view(store: CountingStore, clock: ManualClock) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=store, clock=clock, load="explicit", data=Shop)

    @app.get("/visit")
    async def count_visit(shop: Annotated[Shop, typed(Shop)], session: SessionDep) -> dict[str, Any]:
        shop.visits += 1
        shop.cart.append(shop.visits)
        assert isinstance(session.data, Shop)
        return {"session": session, "name": session.data.username}

    @app.get("/wrong")
    async def wrong(session: SessionDep) -> None:
        for name, value in (("visits", "many"), ("nothing", 1)):
            with pytest.raises((TypeError, AttributeError), match=name):
                setattr(session.data, name, value)
        session["visits"] = "many"
        with pytest.raises(TypeError, match="visits"):
            _ = session.data.visits

    async with client(app) as http:
        await http.get("/visit")
        response = await http.get("/visit")
        assert response.json() == {"session": {"cart": [1, 2], "visits": 2}, "name": "example"}
        assert (await http.get("/wrong")).status_code == 200
    assert Shop.cart == []


async def test_session_of_returns_sessions_of_this_library_only(wrap: AppFactory) -> None:
    scope = {"type": "http", "session": {}}
    with pytest.raises(TypeError, match=r"expected a session of cartapp\.session, got dict"):
        session_of(HTTPConnection(scope))
    async with client(wrap()) as http:
        assert (await http.post("/rotate")).status_code == 200  # its handler uses `session_of`
