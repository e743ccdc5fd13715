"""Several session middleware around one application, ours and Starlette's (findings L5 and L10)."""

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware as SignedCookieMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from cartapp.session import CookieOptions, SessionManager, SessionMiddleware, open_store


async def count(request: Request) -> JSONResponse:
    number = request.session["number"] = request.session.get("number", 0) + 1
    return JSONResponse(number)


def create_client(outer: Middleware, inner: Middleware) -> TestClient:
    """Return a client of an application with a mounted one, each with its middleware."""
    mounted = Starlette(routes=[Route("/", count)], middleware=[inner])
    app = Starlette(routes=[Mount("/mounted", mounted), Route("/", count)], middleware=[outer])
    return TestClient(app, base_url="https://shop.example")


def session_middleware(manager: SessionManager | None = None, *, name: str = "cart_session") -> Middleware:
    manager = manager or SessionManager(open_store("memory://"), cookie=CookieOptions(name=name))
    return Middleware(SessionMiddleware, manager=manager)


SIGNED = Middleware(SignedCookieMiddleware, secret_key="0" * 32, session_cookie="signed")


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (SIGNED, session_middleware()),
        (session_middleware(), SIGNED),
        (session_middleware(), session_middleware(name="mounted")),
    ],
    ids=["signed-ours", "ours-signed", "ours-ours"],
)
def test_sessions_of_nested_middleware_are_separate(outer: Middleware, inner: Middleware) -> None:
    client = create_client(outer, inner)
    assert [client.get("/mounted/").json() for _ in range(3)] == [1, 2, 3]
    assert [client.get("/").json() for _ in range(2)] == [1, 2]
    assert client.get("/mounted/").json() == 4


def test_nested_middleware_with_one_manager_share_the_session() -> None:
    manager = SessionManager(open_store("memory://"))
    client = create_client(session_middleware(manager), session_middleware(manager))
    paths = ["/", "/mounted/", "/", "/mounted/"]
    assert [client.get(path).json() for path in paths] == [1, 2, 3, 4]


def test_nested_managers_with_one_cookie_are_rejected() -> None:
    client = create_client(session_middleware(), session_middleware())
    assert client.get("/").json() == 1
    with pytest.raises(RuntimeError, match="use the cookie cart_session: give them one manager"):
        client.get("/mounted/")
    assert client.get("/").json() == 2
