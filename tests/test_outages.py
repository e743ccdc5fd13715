"""The whole application while its session server is restarted or hangs, or a process of its own is killed.

Every answer is a true one or a 503, nothing is lost that the server kept, and nobody restarts anything.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .backends import Settings, upgraded
from .databases import SERVERS
from .disks import held_database, held_shards
from .running import Shop, running_shop
from .servers import memcached, mongodb
from .servers.process import Server
from .servers.redis import (
    AT_ONCE,
    RedisServers,
    redis_binary,
    running,
    running_cluster,
    running_sentinels,
)
from .servers.valkey import valkey_binary
from .shoppers import Crowd, Keeps, crowd

pytestmark = pytest.mark.anyio

STOPPED = 4.5  # seconds

ON_DISK = ("appendonly yes", "appendfsync always", AT_ONCE)


@dataclass(frozen=True)
class Place:
    """A backend, and the server that a test may stop or freeze."""

    settings: Settings
    server: Server | None = None
    keeps: Keeps = "all"
    hold: Callable[[Path], AbstractContextManager[None]] | None = None
    """Where there is no server: what makes writes below the application's folder wait in vain."""


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
    """The first of these servers is a master, and another one takes over."""

    def prepare(_request: pytest.FixtureRequest, stack: ExitStack) -> Place:
        servers = stack.enter_context(start(redis_binary()))
        return Place({"CART_SESSION_URL": servers.url}, servers.servers[0].server, keeps="replicated")

    return prepare


def _sql(fixture: str) -> "Prepare":
    def prepare(request: pytest.FixtureRequest, _stack: ExitStack) -> Place:
        server = request.getfixturevalue(fixture)
        folder = request.getfixturevalue("tmp_path_factory").mktemp("upgrade")
        return Place(upgraded(server.url, folder), server.server)

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

# A busy machine would make servers take each other for dead.
ONE = [name for name in PLACES if name not in REPLICATED]
TWO = [pytest.param(name, marks=pytest.mark.alone) for name in REPLICATED]


@pytest.fixture(scope="module", params=[*ONE, *TWO])
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


# -- what happens to them -----------------------------------------------------------------------------------


@pytest.mark.promise(6)
@pytest.mark.parametrize("place", WITH_SERVER, indirect=True)
async def test_a_server_restarted_under_load(shop: Shop, place: Place) -> None:
    assert place.server is not None
    async with crowd(shop, keeps=place.keeps) as everybody:
        await everybody.more(everybody.answered, 100)
        await asyncio.to_thread(place.server.stop)
        await everybody.more(everybody.refused, 30)
        await asyncio.to_thread(place.server.start)
        await everybody.more(everybody.answered, 100)
    if place.keeps == "nothing":
        assert all(shopper.vanished == 1 for shopper in everybody.shoppers)


@pytest.mark.promise(6)
@pytest.mark.parametrize("place", TWO, indirect=True)
async def test_a_master_killed_under_load(
    shop: Shop, place: Place, record_property: Callable[[str, object], None]
) -> None:
    """Another server takes over; the former one comes back as its replica."""
    assert place.server is not None
    async with crowd(shop, keeps=place.keeps) as everybody:
        await everybody.more(everybody.answered, 100)
        await asyncio.to_thread(place.server.kill)
        await everybody.more(everybody.refused, 10)
        await answered_by_each(everybody)
        await asyncio.to_thread(place.server.start)
        await everybody.more(everybody.answered, 100)
    record_property("lost", everybody.lost())
    # Each waits for its answer before it writes again, so a master can have kept one write of each to itself.
    assert everybody.lost() <= len(everybody.shoppers)
    assert not any(shopper.vanished for shopper in everybody.shoppers)


@pytest.mark.promise(6, 11)
@pytest.mark.parametrize("place", ONE, indirect=True)
async def test_a_server_that_hangs_under_load(shop: Shop, place: Place) -> None:
    # What memcached has in its memory stays there while it hangs.
    async with crowd(shop, keeps="all") as everybody:
        await everybody.more(everybody.answered, 100)
        with hanging(place, shop.folder):
            await everybody.more(everybody.refused, 20)
        await everybody.more(everybody.answered, 100)


@pytest.mark.promise(9)
async def test_a_process_killed_under_load(shop: Shop) -> None:
    async with crowd(shop, keeps="all") as everybody:
        for _ in range(2):
            await everybody.more(everybody.answered, 100)
            worker = (await asyncio.to_thread(shop.server.children, "spawn_main"))[0]
            os.kill(worker, signal.SIGKILL)
        await everybody.more(everybody.answered, 100)


@pytest.mark.parametrize("place", WITH_SERVER, indirect=True)
async def test_a_process_stopped_while_its_server_answers(tmp_path: Path, place: Place) -> None:
    """Longer than the timeout, with requests under way: that is no outage."""
    server = place.server
    assert server is not None
    settings = {**place.settings, "CART_SESSION_TIMEOUT": str(STOPPED - 0.5)}
    with running_shop(tmp_path, settings, workers=1) as shop:
        async with crowd(shop, keeps="all") as everybody:
            await everybody.more(everybody.answered, 100)
            await asyncio.to_thread(server.pause)
            await asyncio.to_thread(shop.server.pause)  # takes so long that every shopper waits by then
            await asyncio.to_thread(server.resume)
            await asyncio.sleep(STOPPED)
            await asyncio.to_thread(shop.server.resume)
            await everybody.more(everybody.answered, 100)
        assert everybody.refused() == 0


async def answered_by_each(everybody: Crowd) -> None:
    """Wait until every shopper has got a few answers from now on."""
    for shopper in everybody.shoppers:
        await everybody.more(lambda one=shopper: one.answered, 5)  # type: ignore[misc]


@contextmanager
def hanging(place: Place, folder: Path) -> Iterator[None]:
    """Nothing answers any more, though everything is there."""
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
