"""Random clients of two servers with a shared store: all recorded histories are linearizable.

Responses of Redis and PostgreSQL are delayed at random by up to a second, so that requests with one session
overtake each other; with files, more tabs per user have the same effect. Each run prints its numbers as a
table row; CART_TEST_SEED repeats the choices of a run.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from tests.support.backends import SHARED, Settings
from tests.support.random_clients import RandomClients
from tests.support.recorded_requests import clients
from tests.support.servers.proxy import Proxy
from tests.support.shop_server import Shop, running_shop

pytestmark = [pytest.mark.anyio, pytest.mark.promise(1, 2)]

USERS = 20
LIMITS = {"CART_SESSION_TIMEOUT": "10", "CART_LOGIN_LIMIT": "10000/minute"}
"""Delays must not time out, and all users share one network."""


@dataclass(frozen=True)
class Load:
    """Number of concurrent tabs per user, and delays of the store."""

    tabs: int
    delayed: float
    """Share of response pieces that are delayed."""


LOADS = {"redis": Load(3, 0.2), "postgresql": Load(3, 0.03), "file": Load(8, 0)}


def delays(choices: Random, share: float) -> float:
    """Return the delay of a response piece in seconds."""
    return choices.uniform(0, 1) if choices.random() < share else 0


@pytest.fixture(params=LOADS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(backend: str, request: pytest.FixtureRequest) -> Settings:
    name = "database-postgresql" if backend == "postgresql" else backend
    return {**SHARED[name](request), **LIMITS}


@asynccontextmanager
async def two_servers(
    settings: Settings, folder: Path, delay: Callable[[], float]
) -> AsyncIterator[tuple[list[Shop], Proxy | None]]:
    """Run two servers with one store, behind a proxy if the store has a server."""
    async with AsyncExitStack() as stack:
        proxy = None
        url = settings.get("CART_SESSION_URL") or settings.get("DATABASE_URL")
        if url is not None:
            port = urlsplit(url).port
            assert port is not None
            proxy = await stack.enter_async_context(Proxy(port))
            settings = {key: value.replace(f":{port}", f":{proxy.port}") for key, value in settings.items()}
        servers = ExitStack()
        stack.push_async_callback(asyncio.to_thread, servers.close)
        start = partial(running_shop, folder, settings, workers=1)
        shops = [await asyncio.to_thread(servers.enter_context, start()) for _ in range(2)]
        if proxy is not None:
            proxy.delay_answers(delay)
        yield shops, proxy


@pytest.mark.parametrize("requests", [1_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_histories_are_linearizable(
    requests: int, backend: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("CART_TEST_SEED") or secrets.randbelow(1_000_000))
    load = LOADS[backend]
    delay = partial(delays, Random(seed), load.delayed)
    async with two_servers(settings, tmp_path, delay) as (shops, proxy), clients(shops) as opened:
        virtual = RandomClients(opened, seed, requests)
        await virtual.run(users=USERS, tabs=load.tabs)
        if proxy is not None:
            proxy.delay_answers(None)
        await virtual.read_sessions()
    violations = virtual.violations()
    figures = virtual.figures(violations)
    row = " | ".join([backend, str(seed), *(f"{number:,}" for number in figures.values())])
    with capsys.disabled():
        print(f"\n| backend | seed | {' | '.join(figures)} |\n| {row} |")
    if violations:
        pytest.fail("\n".join([f"CART_TEST_SEED={seed}", *map(str, violations[:10])]), pytrace=False)
    assert figures["acknowledged"] > 0.9 * requests
