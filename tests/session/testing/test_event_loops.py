"""A store connects again on another event loop, as `TestClient` without `with` uses one for each request."""

import gc

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from cartapp.session import Session, SessionMiddleware
from cartapp.session.fastapi import load_session
from cartapp.session.record import now
from cartapp.session.stores import sql_store
from tests.support.databases import DATABASES
from tests.support.stores import STORES

HTTPS = "https://shop.example"


async def count(request: Request) -> JSONResponse:
    session: Session = await load_session(request)
    return JSONResponse(session.modify("visits", lambda visits: visits + 1, 0))


# Drivers cannot close the connections of an ended event loop in order.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("backend", STORES)
def test_each_request_may_have_an_event_loop_of_its_own(backend: str, request: pytest.FixtureRequest) -> None:
    app = Starlette(routes=[Route("/", count, methods=["POST"])])
    app.add_middleware(SessionMiddleware, store=STORES[backend](request, now)())
    client = TestClient(app, base_url=HTTPS)
    assert [client.post("/").json() for _ in range(4)] == [1, 2, 3, 4]
    with TestClient(app, base_url=HTTPS, cookies=client.cookies) as same_loop:
        assert [same_loop.post("/").json() for _ in range(2)] == [5, 6]
    del app, client, same_loop
    gc.collect()


def test_an_engine_of_the_application_without_a_pool(request: pytest.FixtureRequest) -> None:
    url = DATABASES["postgresql"](request).replace("://", "+asyncpg://", 1)
    store = sql_store(create_async_engine(url, poolclass=NullPool))
    app = Starlette(routes=[Route("/", count, methods=["POST"])])
    app.add_middleware(SessionMiddleware, store=store)
    client = TestClient(app, base_url=HTTPS)
    assert [client.post("/").json() for _ in range(4)] == [1, 2, 3, 4]
