"""The shop on a real server, one browser for the tests of a file, and a visitor for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.running import Shop, running_shop
from tests.servers.redis import RedisServer

from .chromium import Visitor, binary, launched, visitor

Come = Callable[..., Awaitable[Visitor]]
"""Lets a visitor into a shop; see `visit`."""

PATIENT = {"CART_LOGIN_LIMIT": "1000/minute"}
"""All these visitors come from one network, and quickly."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def file_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop as it comes, with two workers."""
    binary()
    with running_shop(tmp_path_factory.mktemp("file"), PATIENT) as shop:
        yield shop


@pytest.fixture(scope="module")
def redis_shop(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The same with its sessions in Redis."""
    binary()
    settings = {**PATIENT, "CART_SESSION_URL": redis_server.url}
    with running_shop(tmp_path_factory.mktemp("redis"), settings) as shop:
        yield shop


@pytest.fixture(scope="module", params=["file", "redis"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """One after the other, for what depends on where sessions are kept."""
    found: Shop = request.getfixturevalue(f"{request.param}_shop")
    return found


@pytest.fixture
async def visit(chromium: Browser) -> AsyncIterator[Come]:
    """Lets visitors in, and looks in the end whether any of them met a mistake."""
    visitors: list[Visitor] = []
    async with AsyncExitStack() as stack:

        async def come(shop: Shop, **options: Any) -> Visitor:
            visitors.append(await stack.enter_async_context(visitor(chromium, shop.url, **options)))
            return visitors[-1]

        yield come
        assert [problem for one in visitors for problem in one.problems] == []
