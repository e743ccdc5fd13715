"""Servers that respond in time while the event loop is blocked for longer than the timeout."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cartapp.session import SessionMiddleware
from cartapp.session.record import now
from cartapp.session.stores.base import Store
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.conftest import ON_BOTH_LOOPS
from tests.support.databases import SERVERS, emptied
from tests.support.servers.redis import RedisServer
from tests.support.stores import REDIS, make_record, with_prefix

pytestmark = [
    pytest.mark.anyio,
    ON_BOTH_LOOPS,
    # PyMongo's monitor, closed during connect, leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TIMEOUT = 3.0  # seconds; a busy machine takes more than one for all operations of a test
PAUSE = 3.3  # seconds, longer than the timeout


FIXTURES = {
    **REDIS,
    "memcached": "memcached_server",
    "mongodb": "mongodb_server",
    **{f"database-{name}": fixture for name, fixture in SERVERS.items()},
}


@pytest.fixture(params=FIXTURES)
def url(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    server = request.getfixturevalue(FIXTURES[name])
    if name == "mongodb":
        server.empty()
    if name.startswith("database-"):
        return emptied(server.url)
    return with_prefix(server.url) if name in REDIS else str(server.url)


Open = Callable[[], CircuitBreakerStore]


@pytest.fixture
async def open_guarded(url: str) -> AsyncIterator[Open]:
    """Open stores; check that their circuit breakers stay closed."""
    opened: list[CircuitBreakerStore] = []
    changes: list[bool] = []

    def open_one() -> CircuitBreakerStore:
        store = open_store(url, timeout=TIMEOUT, pool_size=4)  # fewer than the operations
        opened.append(CircuitBreakerStore(store, on_change=changes.append))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()
    assert not changes


def block() -> None:
    """Block the event loop, as a faulty handler does."""
    time.sleep(PAUSE)


async def test_operations_under_way_end_well(open_guarded: Open) -> None:
    """On open connections, during connect, and at each step of an operation."""
    connected, fresh = open_guarded(), open_guarded()
    record = make_record(now())
    assert await connected.create(record) is not None
    loads, creations = [], []
    for _ in range(6):
        loads += [asyncio.create_task(store.load(record.key)) for store in (connected, fresh)]
        creations.append(asyncio.create_task(connected.create(make_record(now(), user_id="7"))))
        await asyncio.sleep(0)
    block()
    assert all(found is not None for found in await asyncio.gather(*loads))
    assert None not in await asyncio.gather(*creations)


# -- through the middleware ---------------------------------------------------------------------------------


async def count(request: Request) -> JSONResponse:
    request.session["count"] = request.session.get("count", 0) + 1
    return JSONResponse(request.session["count"])


async def block_and_count(request: Request) -> JSONResponse:
    before = request.session.get("count", 0)
    block()
    request.session["count"] = before + 1
    return JSONResponse(request.session["count"])


@pytest.fixture
async def store(redis_server: RedisServer) -> AsyncIterator[Store]:
    store = open_store(with_prefix(redis_server.url), timeout=TIMEOUT)
    yield store
    await store.close()


async def test_a_blocking_handler_fails_no_other_request(store: Store) -> None:
    app = Starlette(
        routes=[Route("/", count), Route("/block", block_and_count)],
        middleware=[Middleware(SessionMiddleware, store=store, timeout=TIMEOUT)],
    )
    transport = httpx.ASGITransport(app)
    clients = [httpx.AsyncClient(transport=transport, base_url="https://testserver") for _ in range(20)]
    for number, blocking in ((1, ()), (2, (0, 10))):
        paths = ["/block" if place in blocking else "/" for place in range(len(clients))]
        visits = (client.get(path) for client, path in zip(clients, paths, strict=True))
        answers = await asyncio.gather(*visits)
        assert [(answer.status_code, answer.text) for answer in answers] == [(200, str(number))] * 20
    for client in clients:
        await client.aclose()
