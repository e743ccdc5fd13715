"""The shop on a real server, one browser for the tests of a file, and a visitor for each test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.running import Shop, running_shop

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
    """The shop as it comes."""
    binary()
    with running_shop(tmp_path_factory.mktemp("file"), PATIENT, workers=1) as shop:
        yield shop


@pytest.fixture(scope="module", params=["file", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop on each of two kinds of store, with two workers."""
    binary()
    store = {}
    if request.param == "redis":
        store = {"CART_SESSION_URL": request.getfixturevalue("redis_server").url}
    with running_shop(tmp_path_factory.mktemp(request.param), {**PATIENT, **store}) as running:
        yield running


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
