"""`session_of` and `login_as`: the session of a test client."""

from collections.abc import Iterator

import httpx2 as httpx
import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.testclient import TestClient

from cartapp.session import (
    CookieOptions,
    KeyRing,
    SessionManager,
    SessionMiddleware,
    new_secret,
    session_lifespan,
)
from cartapp.session.fastapi import SessionDep
from cartapp.session.testing import login_as, session_of
from tests.support.servers.redis import RedisServer

HTTPS = "https://shop.example"


def create_app(manager: SessionManager) -> FastAPI:
    app = FastAPI(lifespan=lambda _: session_lifespan(manager))
    app.add_middleware(SessionMiddleware, manager=manager, data=View)

    @app.get("/")
    async def show(session: SessionDep) -> dict[str, object]:
        return {"data": session.all(), "user": session.user_id}

    @app.post("/visits")
    async def count(session: SessionDep) -> int:
        visits: int = session.modify("visits", lambda visits: visits + 1, 0)
        return visits

    @app.post("/logout")
    async def log_out(session: SessionDep) -> None:
        session.destroy()

    return app


class View:
    visits: int = 0


@pytest.fixture(
    params=[
        ("memory://", None, {}),
        ("memory://", None, {"path": "/visits"}),
        ("memory://", None, {"domain": "shop.example"}),
        ("cookie://", KeyRing(new_secret()), {}),
    ],
    ids=["memory", "path", "domain", "cookie"],
)
def manager(request: pytest.FixtureRequest) -> SessionManager:
    url, keys, cookie = request.param
    return SessionManager(url, keys=keys, cookie=CookieOptions(**cookie))


@pytest.fixture(params=[HTTPS, "http://shop.example"], ids=["https", "http"])
def client(request: pytest.FixtureRequest, manager: SessionManager) -> Iterator[TestClient]:
    with TestClient(create_app(manager), base_url=request.param) as client:
        yield client


def test_seeds_and_reads(client: TestClient) -> None:
    with session_of(client) as session:
        assert session.is_new
        session["visits"] = 41
    assert client.post("/visits").json() == 42
    with session_of(client) as session:
        assert not session.is_new
        assert session["visits"] == session.data.visits == 42
    assert len(client.cookies.jar) == 1
    assert client.post("/visits").json() == 43


def test_logs_in_and_out() -> None:
    client = TestClient(create_app(SessionManager("memory://")), base_url=HTTPS)
    assert client.post("/visits").json() == 1
    login_as(client, "7", 3)
    assert client.get("/").json() == {"data": {"visits": 1}, "user": "7"}
    with session_of(client) as session:
        session.destroy()
    assert not client.cookies
    assert client.get("/").json() == {"data": {}, "user": None}
    login_as(client, "8")
    client.post("/logout")
    with session_of(client) as session:
        assert session.user_id is None
    assert not client.cookies


def test_reading_creates_no_session(client: TestClient) -> None:
    with session_of(client) as session:
        assert session.all() == {}
    assert not client.cookies


def change_and_fail(client: TestClient) -> None:
    with session_of(client) as session:
        session["visits"] = 1
        raise ZeroDivisionError


def test_error_in_the_block_saves_nothing(client: TestClient) -> None:
    with pytest.raises(ZeroDivisionError):
        change_and_fail(client)
    assert not client.cookies
    assert client.post("/visits").json() == 1


@pytest.mark.anyio
@pytest.mark.parametrize("by_manager", [False, True])
async def test_an_asynchronous_client(by_manager: bool) -> None:
    manager = SessionManager("memory://")
    app = create_app(manager)
    source = manager if by_manager else app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HTTPS) as client:
        async with session_of(client, source) as session:
            session["visits"] = 41
        assert (await client.post("/visits")).json() == 42
        with pytest.raises(TypeError, match="expected `async with` for an asynchronous client"):
            session_of(client, app).__enter__()


def test_uses_the_event_loop_of_the_application(redis_server: RedisServer) -> None:
    with TestClient(create_app(SessionManager(redis_server.url)), base_url=HTTPS) as client:
        for visits in range(1, 4):
            assert client.post("/visits").json() == visits
            with session_of(client) as session:
                assert session["visits"] == visits


def test_finds_the_middleware_of_a_wrapped_application() -> None:
    class Wrapper:
        def __init__(self, app: FastAPI) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:  # type: ignore[no-untyped-def]
            await self.app(scope, receive, send)

    app = FastAPI()
    app.add_middleware(SessionMiddleware, store="memory://")  # the manager exists only in the middleware

    @app.get("/")
    async def show(request: Request) -> object:
        return request.session

    client = TestClient(Wrapper(app), base_url=HTTPS)
    with session_of(client) as session:
        session["a"] = 1
    assert client.get("/").json() == {"a": 1}


@pytest.mark.parametrize("app", [Starlette(), None, 7])
def test_an_application_without_sessions_is_one_sentence(app: object) -> None:
    client = TestClient(Starlette())
    with pytest.raises(TypeError, match=r"^session_of: expected an application with SessionMiddleware, or"):
        session_of(client, app)
