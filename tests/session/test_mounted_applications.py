"""One manager in an application and in a mounted one: a request has one session."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.sessions import SessionMiddleware as SignedCookieMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from cartapp.session import CookieOptions, SessionEnded, SessionManager, SessionMiddleware, session_of
from tests.support.starlette_app import CountingStore


class CountRequests:
    """A middleware of the outer application: changes the session before the handler, reads it afterwards."""

    def __init__(self, app: ASGIApp, seen: list[dict[str, Any]]) -> None:
        self.app = app
        self.seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = scope["session"]
        session.modify("requests", lambda number: number + 1, 0)
        await self.app(scope, receive, send)
        self.seen.append(session.copy())


async def view(request: Request) -> Response:
    return JSONResponse({**request.session, "user": session_of(request).user_id})


async def add(request: Request) -> Response:
    request.session["item"] = "tea"
    return PlainTextResponse("added")


async def log_in(request: Request) -> Response:
    session_of(request).log_in("7")
    return PlainTextResponse("logged in")


async def destroy(request: Request) -> Response:
    session_of(request).destroy()
    return PlainTextResponse("destroyed")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    websocket.session["socket"] = 1
    await session_of(websocket).save()
    await websocket.close()


async def load(request: Request) -> Response:
    return JSONResponse({**await session_of(request).load()})


async def end(request: Request) -> Response:
    request.session["item"] = "lost"
    raise SessionEnded


class Shop:
    item: str = "none"


async def show_data(request: Request) -> Response:
    return PlainTextResponse(session_of(request).data.item)


ROUTES = [
    Route("/view", view),
    Route("/add", add, methods=["POST"]),
    Route("/login", log_in, methods=["POST"]),
    Route("/destroy", destroy, methods=["POST"]),
    Route("/load", load),
    Route("/end", end, methods=["POST"]),
    Route("/data", show_data),
    WebSocketRoute("/socket", socket),
]


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def manager(store: CountingStore) -> SessionManager:
    return SessionManager(store)


def create_client(
    manager: SessionManager, *between: Middleware, outer: dict[str, Any] | None = None, **inner: Any
) -> TestClient:
    """Return a client of an application with a mounted one; both have the middleware with the manager."""
    mounted = Starlette(routes=ROUTES, middleware=[Middleware(SessionMiddleware, manager=manager, **inner)])
    session = Middleware(SessionMiddleware, manager=manager, **(outer or {}))
    app = Starlette(routes=[Mount("/in", mounted), *ROUTES], middleware=[session, *between])
    return TestClient(app, base_url="https://shop.example")


OTHER = Middleware(SessionMiddleware, store="memory://", cookie=CookieOptions(name="other"))
SIGNED = Middleware(SignedCookieMiddleware, secret_key="0" * 32, session_cookie="signed")


@pytest.mark.parametrize("between", [[], [OTHER], [SIGNED]], ids=["direct", "other", "signed"])
def test_both_applications_change_one_session(manager: SessionManager, between: list[Middleware]) -> None:
    client = create_client(manager, Middleware(CountRequests, seen=[]), *between)
    response = client.post("/in/add")
    assert len(response.headers.get_list("set-cookie")) == 1
    assert client.get("/in/view").json() == {"requests": 2, "item": "tea", "user": None}


def test_rotation_and_destroy_in_the_mounted_application(manager: SessionManager) -> None:
    seen: list[dict[str, Any]] = []
    client = create_client(manager, Middleware(CountRequests, seen=seen))
    client.post("/in/add")
    for requests in (2, 4):
        assert client.post("/in/login").text == "logged in"
        assert client.get("/view").json() == {"requests": requests + 1, "item": "tea", "user": "7"}
    assert client.post("/in/destroy").text == "destroyed"
    assert not client.cookies
    assert seen[-1] == {}


def test_a_websocket_of_the_mounted_application(manager: SessionManager) -> None:
    seen: list[dict[str, Any]] = []
    client = create_client(manager, Middleware(CountRequests, seen=seen))
    client.post("/add")
    with client.websocket_connect("wss://shop.example/in/socket") as websocket:
        assert websocket.receive()["type"] == "websocket.close"
    assert seen[-1] == {"requests": 2, "item": "tea", "socket": 1}
    assert client.get("/view").json() == {"requests": 3, "item": "tea", "socket": 1, "user": None}


def test_a_websocket_is_rejected_while_the_store_is_down(
    manager: SessionManager, store: CountingStore
) -> None:
    client = create_client(manager, outer={"load": "explicit"})
    client.post("/in/add")
    store.failing = True
    with (
        pytest.raises(WebSocketDisconnect) as rejection,
        client.websocket_connect("wss://shop.example/in/socket"),
    ):
        pass
    assert rejection.value.code == 1013


async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers["X-Passed"] = "yes"
    return response


def test_errors_in_the_mounted_application_are_responses(
    manager: SessionManager, store: CountingStore
) -> None:
    client = create_client(manager, Middleware(BaseHTTPMiddleware, dispatch=pass_on))
    client.post("/in/add")
    response = client.post("/in/end")
    assert (response.status_code, response.headers["x-passed"]) == (409, "yes")
    assert response.headers["cache-control"] == "no-store"
    assert client.get("/view").json() == {"item": "tea", "user": None}
    store.failing = True
    assert [client.get(path).status_code for path in ("/load", "/in/load")] == [503, 503]


def test_options_of_the_mounted_middleware(manager: SessionManager, store: CountingStore) -> None:
    client = create_client(manager, outer={"load": "explicit"}, data=Shop)
    client.post("/in/add")
    assert client.get("/in/data").text == "tea"
    assert client.get("/in/load").json() == {"item": "tea"}

    def respond(_scope: Scope, _error: Exception) -> Response:
        return PlainTextResponse("later", 503)

    client = create_client(manager, error_response=respond)
    client.post("/in/add")
    store.failing = True
    assert client.get("/in/load").text == "later"


def test_two_managers_with_one_cookie_are_rejected_also_around_another(manager: SessionManager) -> None:
    client = create_client(SessionManager("memory://"), Middleware(SessionMiddleware, manager=manager))
    with pytest.raises(RuntimeError, match="give them one manager"):
        client.get("/view")
    mounted = Starlette(routes=ROUTES, middleware=[OTHER, Middleware(SessionMiddleware, store="memory://")])
    app = SessionMiddleware(mounted, manager=manager)
    with pytest.raises(RuntimeError, match="give them one manager"):
        TestClient(app, base_url="https://shop.example").get("/view")
