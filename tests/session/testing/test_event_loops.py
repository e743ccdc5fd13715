"""A store has connections of its own on each event loop.

`TestClient` uses one event loop for each `with` block, and without `with` one for each request.
"""

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket

from cartapp.session import Session, SessionManager, SessionMiddleware, session_lifespan, session_of
from cartapp.session.fastapi import load_session
from cartapp.session.record import now
from cartapp.session.stores import sql_store
from tests.support.databases import DATABASES
from tests.support.stores import STORES

HTTPS, LIVE = "https://shop.example", "wss://shop.example/live"


async def count(request: Request) -> JSONResponse:
    session: Session = await load_session(request)
    session.modify("visits", lambda visits: visits + 1, 0)
    await session.save()
    return JSONResponse(session["visits"])


async def count_messages(socket: WebSocket) -> None:
    session = await session_of(socket).load()
    await socket.accept()
    async for _ in socket.iter_text():
        session.modify("visits", lambda visits: visits + 1, 0)
        await session.save()
        await socket.send_json(session["visits"])


def make_app(backend: str, request: pytest.FixtureRequest) -> Starlette:
    manager = SessionManager(STORES[backend](request, now)())
    app = Starlette(
        routes=[Route("/", count, methods=["POST"]), WebSocketRoute("/live", count_messages)],
        lifespan=lambda _: session_lifespan(manager),
    )
    app.add_middleware(SessionMiddleware, manager=manager)
    app.state.manager = manager
    return app


def _from_drivers(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what drivers, SQLAlchemy or asyncio have logged."""
    return [record.getMessage() for record in caplog.records if record.name != "cartapp.session"]


@pytest.mark.parametrize("backend", STORES)
def test_each_request_may_have_an_event_loop_of_its_own(
    backend: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(backend, request)
    client = TestClient(app, base_url=HTTPS)
    assert [client.post("/").json() for _ in range(4)] == [1, 2, 3, 4]
    with TestClient(app, base_url=HTTPS, cookies=client.cookies) as same_loop:
        assert [same_loop.post("/").json() for _ in range(2)] == [5, 6]
    del app, client, same_loop
    gc.collect()  # a connection that is still open would warn
    assert not _from_drivers(caplog)


@pytest.mark.parametrize("backend", STORES)
def test_two_clients_may_be_open(
    backend: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(backend, request)
    with TestClient(app, base_url=HTTPS) as laptop:
        assert laptop.post("/").json() == 1
        with TestClient(app, base_url=HTTPS) as phone, laptop.websocket_connect(LIVE) as live:
            for number in (1, 2, 3):
                assert phone.post("/").json() == number
                live.send_text("")
                assert live.receive_json() == number + 1
            assert laptop.post("/").json() == 5
        # The end of the other client has closed its own connections and threads only.
        assert laptop.portal is not None
        laptop.portal.call(app.state.manager.ping)
        assert laptop.post("/").json() == (1 if backend == "memory" else 6)  # which `close` empties
    gc.collect()
    assert not _from_drivers(caplog)


@pytest.mark.parametrize("backend", STORES)
def test_two_clients_may_send_at_the_same_time(backend: str, request: pytest.FixtureRequest) -> None:
    """Both have the same session, and none of their changes is lost."""
    app = make_app(backend, request)
    with TestClient(app, base_url=HTTPS) as laptop:
        laptop.post("/")
        with (
            TestClient(app, base_url=HTTPS, cookies=laptop.cookies) as phone,
            ThreadPoolExecutor(4) as threads,
        ):
            clients = [laptop, phone] * 10
            numbers = threads.map(lambda client: client.post("/").json(), clients)
            assert sorted(numbers) == [*range(2, 22)]


def test_an_engine_of_the_application_without_a_pool(request: pytest.FixtureRequest) -> None:
    url = DATABASES["postgresql"](request).replace("://", "+asyncpg://", 1)
    store = sql_store(create_async_engine(url, poolclass=NullPool))
    app = Starlette(routes=[Route("/", count, methods=["POST"])])
    app.add_middleware(SessionMiddleware, store=store)
    client = TestClient(app, base_url=HTTPS)
    assert [client.post("/").json() for _ in range(4)] == [1, 2, 3, 4]
