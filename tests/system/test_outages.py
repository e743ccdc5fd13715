"""The whole application while its session server restarts or hangs, or one of its workers is killed.

Every response is true or a 503, no data kept by the server is lost, and the application recovers by itself.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.backends import Settings, prepare_database
from tests.support.cart_load import CartLoad, Keeps, cart_load
from tests.support.databases import SERVERS
from tests.support.disks import held_database, held_shards
from tests.support.servers import memcached, mongodb
from tests.support.servers.process import Server
from tests.support.servers.redis import (
    AT_ONCE,
    RedisServers,
    redis_binary,
    running,
    running_cluster,
    running_sentinels,
)
from tests.support.servers.valkey import valkey_binary
from tests.support.shop_server import Shop, running_shop

pytestmark = pytest.mark.anyio

STOPPED = 4.5  # seconds

ON_DISK = ("appendonly yes", "appendfsync always", AT_ONCE)


@dataclass(frozen=True)
class Place:
    """A backend, with the server that a test may stop or suspend."""

    settings: Settings
    server: Server | None = None
    keeps: Keeps = "all"
    hold: Callable[[Path], AbstractContextManager[None]] | None = None
    """For backends without a server: block all writes below the application's folder."""


# -- the backends -------------------------------------------------------------------------------------------


def _file(_request: pytest.FixtureRequest, _stack: ExitStack) -> Place:
    return Place(
        {"CART_SESSION_BACKEND": "file"}, hold=lambda folder: held_shards(folder / "data" / "sessions")
    )


def _sqlite(_request: pytest.FixtureRequest, _stack: ExitStack) -> Place:
    return Place(
        {"CART_SESSION_BACKEND": "database"}, hold=lambda folder: held_database(folder / "data" / "cart.db")
    )


def _redis(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    server = stack.enter_context(running(redis_binary(), *ON_DISK))
    return Place({"CART_SESSION_URL": server.url}, server.server)


def _valkey(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    server = stack.enter_context(running(valkey_binary(), *ON_DISK))
    return Place({"CART_SESSION_URL": server.url}, server.server)


def _memcached(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    server = stack.enter_context(memcached.running())
    return Place({"CART_SESSION_URL": server.url}, server.server, keeps="nothing")


def _mongodb(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
    server = stack.enter_context(mongodb.running())
    return Place({"CART_SESSION_URL": server.url}, server.server)


def _replicated(start: Callable[[Path], AbstractContextManager[RedisServers]]) -> "Prepare":
    """Return a preparation of replicated servers; the first one is the master."""

    def prepare(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
        servers = stack.enter_context(start(redis_binary()))
        return Place({"CART_SESSION_URL": servers.url}, servers.servers[0].server, keeps="replicated")

    return prepare


def _sql(fixture: str) -> "Prepare":
    def prepare(request: pytest.FixtureRequest, _stack: ExitStack) -> Place:
        server = request.getfixturevalue(fixture)
        return Place(prepare_database(server.url), server.server)

    return prepare


Prepare = Callable[[pytest.FixtureRequest, ExitStack], Place]

WITH_SERVER: dict[str, Prepare] = {
    "redis": _redis,
    "valkey": _valkey,
    "memcached": _memcached,
    "mongodb": _mongodb,
    **{f"database-{name}": _sql(fixture) for name, fixture in SERVERS.items()},
}
REPLICATED = {
    "redis-sentinel": _replicated(running_sentinels),
    "redis-cluster": _replicated(running_cluster),
}
PLACES: dict[str, Prepare] = {"file": _file, "database-sqlite": _sqlite, **WITH_SERVER, **REPLICATED}


def soak(name: str) -> object:
    """Return a parameter that only `make soak` and `make table` run."""
    return pytest.param(name, marks=pytest.mark.soak)


# `make test` covers Valkey's store on Redis: both servers have one client and one set of scripts.
RESTARTED = [name if name != "valkey" else soak(name) for name in WITH_SERVER]
EMBEDDED = ["file", "database-sqlite"]
ONE = [*RESTARTED, *EMBEDDED]
"""Begins as `RESTARTED`: pytest groups tests by the position of a parameter, so each shop is started once."""

# On a busy machine servers would take each other for dead.
TWO = [pytest.param(name, marks=pytest.mark.alone) for name in REPLICATED]


# A killed worker is replaced by its supervisor, with or without a server: two of the servers show it.
KILLED = [name if name in ("redis", "database-postgresql") else soak(name) for name in WITH_SERVER]


@pytest.fixture(scope="module", params=[*KILLED, *EMBEDDED, *TWO])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with ExitStack() as stack:
        place = PLACES[request.param](request, stack)
        yield place
        if place.server is not None:
            place.server.resume()


@pytest.fixture(scope="module")
def shop(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("shop")
    with running_shop(folder, place.settings) as running:
        yield running


# -- faults -------------------------------------------------------------------------------------------------


@pytest.mark.promise(6)
@pytest.mark.parametrize("place", RESTARTED, indirect=True)
async def test_server_restart_under_load(shop: Shop, place: Place) -> None:
    assert place.server is not None
    async with cart_load(shop, keeps=place.keeps) as load:
        await load.wait_for_increase(load.answered, 50)
        await asyncio.to_thread(place.server.stop)
        await load.wait_for_increase(load.refused, 30)
        await asyncio.to_thread(place.server.start)
        await load.wait_for_increase(load.answered, 50)
    if place.keeps == "nothing":
        assert all(shopper.vanished == 1 for shopper in load.shoppers)


@pytest.mark.promise(6)
@pytest.mark.parametrize("place", TWO, indirect=True)
async def test_master_killed_under_load(
    shop: Shop, place: Place, record_property: Callable[[str, object], None]
) -> None:
    """Another server takes over, and the old master returns as its replica."""
    assert place.server is not None
    async with cart_load(shop, keeps=place.keeps) as load:
        await load.wait_for_increase(load.answered, 50)
        await asyncio.to_thread(place.server.kill)
        await load.wait_for_increase(load.refused, 10)
        await wait_for_each_client(load)
        await asyncio.to_thread(place.server.start)
        await load.wait_for_increase(load.answered, 50)
    record_property("lost", load.lost())
    # Each client waits for a response before its next write: the master can lose at most one write of each.
    assert load.lost() <= len(load.shoppers)
    assert not any(shopper.vanished for shopper in load.shoppers)


@pytest.mark.promise(6, 11)
@pytest.mark.parametrize("place", ONE, indirect=True)
async def test_server_hangs_under_load(shop: Shop, place: Place) -> None:
    # Memcached keeps its data while it hangs.
    async with cart_load(shop, keeps="all") as load:
        await load.wait_for_increase(load.answered, 50)
        with hanging(place, shop.folder):
            await load.wait_for_increase(load.refused, 20)
        await load.wait_for_increase(load.answered, 50)


@pytest.mark.promise(9)
async def test_worker_killed_under_load(shop: Shop) -> None:
    async with cart_load(shop, keeps="all") as load:
        await load.wait_for_increase(load.answered, 50)
        worker = (await asyncio.to_thread(shop.server.children, "spawn_main"))[0]
        os.kill(worker, signal.SIGKILL)
        await load.wait_for_increase(load.answered, 50)


@pytest.mark.parametrize("place", RESTARTED, indirect=True)
async def test_worker_suspended_while_server_responds(tmp_path: Path, place: Place) -> None:
    """A suspension longer than the timeout, with requests in flight, is no outage."""
    server = place.server
    assert server is not None
    settings = {**place.settings, "CART_SESSION_TIMEOUT": str(STOPPED - 0.5)}
    with running_shop(tmp_path, settings, workers=1) as shop:
        async with cart_load(shop, keeps="all") as load:
            await load.wait_for_increase(load.answered, 50)
            await asyncio.to_thread(server.pause)
            await asyncio.to_thread(shop.server.pause)  # takes long enough for every client to wait
            await asyncio.to_thread(server.resume)
            await asyncio.sleep(STOPPED)
            await asyncio.to_thread(shop.server.resume)
            await load.wait_for_increase(load.answered, 50)
        assert load.refused() == 0


async def wait_for_each_client(load: CartLoad) -> None:
    """Wait until every client has received five more responses."""
    for shopper in load.shoppers:
        await load.wait_for_increase(lambda one=shopper: one.answered, 5)  # type: ignore[misc]


@contextmanager
def hanging(place: Place, folder: Path) -> Iterator[None]:
    """Make the backend hang within the block."""
    if place.hold is not None:
        with place.hold(folder):
            yield
        return
    assert place.server is not None
    place.server.pause()
    try:
        yield
    finally:
        place.server.resume()
