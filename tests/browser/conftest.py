"""A shop server and a browser for all tests of this package, and visitors for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.support.servers.redis import RedisServer
from tests.support.shop_server import Shop, running_shop

from .chromium import Visitor, binary, launch, visitor

OpenVisitor = Callable[..., Awaitable[Visitor]]
"""Open a visitor of a shop; see `visit`."""

SETTINGS = {"CART_LOGIN_LIMIT": "1000/minute"}
"""Visitors share one network and log in often."""


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
async def chromium() -> AsyncIterator[Browser]:
    async with launch() as browser:
        yield browser


@pytest.fixture(scope="package")
def file_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop with default settings and two workers."""
    binary()
    with running_shop(tmp_path_factory.mktemp("file"), SETTINGS) as shop:
        yield shop


@pytest.fixture(scope="package")
def redis_shop(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop with sessions in Redis."""
    binary()
    settings = {**SETTINGS, "CART_SESSION_URL": redis_server.url}
    with running_shop(tmp_path_factory.mktemp("redis"), settings) as shop:
        yield shop


@pytest.fixture(scope="package", params=["file", pytest.param("redis", marks=pytest.mark.soak)])
def shop(request: pytest.FixtureRequest) -> Shop:
    """Each shop in turn, for tests that depend on the session store; `make test` uses files.

    `tests/system/test_backends.py` has the same races without a browser on every store.
    """
    found: Shop = request.getfixturevalue(f"{request.param}_shop")
    return found


@pytest.fixture
async def visit(chromium: Browser) -> AsyncIterator[OpenVisitor]:
    """Return a function that opens visitors; check afterwards that none met a problem."""
    visitors: list[Visitor] = []
    async with AsyncExitStack() as stack:

        async def open_visitor(shop: Shop, **options: Any) -> Visitor:
            visitors.append(await stack.enter_async_context(visitor(chromium, shop.url, **options)))
            return visitors[-1]

        yield open_visitor
        assert [problem for one in visitors for problem in one.problems] == []
