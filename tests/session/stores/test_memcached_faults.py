"""Faults of a memcached server: each result is correct or an error."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, now
from cartapp.session.stores.base import Store
from cartapp.session.stores.memcached.store import MemcachedStore
from cartapp.session.stores.memcached.url import Address
from cartapp.session.stores.registry import open_store
from tests.support.polling import wait_until_available
from tests.support.server_faults import (
    cancel_during_responses,
    cut_connections,
    freeze,
    http_server,
    kill_repeatedly,
    stop_and_start,
)
from tests.support.servers.memcached import MemcachedServer, running
from tests.support.servers.process import free_port
from tests.support.servers.proxy import Proxy
from tests.support.session_layer import SessionLayer
from tests.support.stores import make_record

pytestmark = [pytest.mark.anyio, pytest.mark.promise(6, backend="memcached")]

TIMEOUT = 10.0  # generous for busy machines; only a hanging server exceeds it
SHORT = 0.4


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    with running() as server:
        yield server


@pytest.fixture
async def store(server: MemcachedServer) -> AsyncIterator[Store]:
    store = open_store(server.url, timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
def layer(store: Store) -> SessionLayer:
    return SessionLayer(store, now, SessionPolicy(timeout=TIMEOUT))


@pytest.fixture
async def proxy(server: MemcachedServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: Proxy) -> AsyncIterator[MemcachedStore]:
    """The store behind the proxy."""
    store = MemcachedStore(Address((("127.0.0.1", proxy.port),)), timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
def record() -> Record:
    return make_record(now(), data=b"0")


# -- the server ---------------------------------------------------------------------------------------------


async def test_stopped_and_started_under_load(server: MemcachedServer, layer: SessionLayer) -> None:
    visitors = await stop_and_start(server.server, layer, keeps=False)
    assert all(visitor.vanished == 1 for visitor in visitors.visitors)  # it has no persistence


async def test_killed_again_and_again_under_load(server: MemcachedServer, layer: SessionLayer) -> None:
    await kill_repeatedly(server.server, layer, keeps=False, times=5)


async def test_frozen_under_load(server: MemcachedServer) -> None:
    store = open_store(server.url, timeout=SHORT)
    await freeze(server.server, SessionLayer(store, now, SessionPolicy(timeout=SHORT)))
    await store.close()


async def test_no_server_is_running(record: Record) -> None:
    store = open_store(f"memcached://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.load(record.key)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.ping()
    await store.close()


async def test_another_protocol_on_the_port(record: Record) -> None:
    async with http_server() as port:
        store = open_store(f"memcached://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="does not speak memcached's protocol"):
            await store.load(record.key)
        await store.close()


async def test_the_connection_limit_of_the_server(record: Record) -> None:
    with running("--conn-limit=30", "--threads=1") as server:
        taken = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(30)]
        store = open_store(server.url, timeout=TIMEOUT)
        with pytest.raises(StoreUnavailable):
            await store.create(record)
        for _, writer in taken:
            writer.close()
            await writer.wait_closed()
        await wait_until_available(store)  # after the server has noticed the closed connections
        assert await store.create(record) is not None
        await store.close()


# -- memory -------------------------------------------------------------------------------------------------


async def test_a_record_too_large_for_an_item_leaves_the_former_one(store: Store, record: Record) -> None:
    version = await store.create(record)
    assert version is not None
    seen = await store.load(record.key)
    assert seen is not None
    with pytest.raises(StoreUnavailable, match="object too large for cache"):
        await store.save(replace(seen, data=b"x" * 1_100_000), expected=seen.version)
    assert await store.load(record.key) == seen
    with pytest.raises(StoreUnavailable, match="object too large for cache"):
        await store.create(make_record(now(), data=b"x" * 1_100_000))


async def fill(layer: SessionLayer, cookies: list[str]) -> None:
    for _ in range(1000):
        cookies.append(await layer.begin(stuff="x" * 60_000))


async def test_out_of_memory_where_nothing_is_evicted() -> None:
    with running("--memory-limit=4", "--disable-evictions") as server:
        store = open_store(server.url)
        layer = SessionLayer(store, now)
        cookies: list[str] = []
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await fill(layer, cookies)
        session, _ = await layer.load(cookies[0])
        session["more"] = "x" * 5000
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await session.save()
        for cookie in cookies:  # the refused write kept the old item
            assert await layer.read(cookie) == {"stuff": "x" * 60_000}
        for cookie in cookies[5:]:
            session, _ = await layer.load(cookie)
            session.destroy()
            await session.save()
        await layer.begin(stuff="x" * 60_000)
        await store.close()


async def test_an_item_evicted_by_a_full_server_is_absent() -> None:
    with running("--memory-limit=4") as server:
        store = open_store(server.url)
        first = make_record(now(), data=b"x" * 60_000)
        version = await store.create(first)
        assert version is not None
        for _ in range(300):
            assert await store.create(make_record(now(), data=b"x" * 60_000)) is not None
        assert server.stats()["evictions"] > 0
        assert await store.load(first.key) is None
        assert await store.save(first, expected=version) is None
        assert not await store.delete(first.key)
        await store.close()


# -- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 7, 20, 40, 30_000, 65_590])
async def test_load_with_a_truncated_response_fails(behind: MemcachedStore, proxy: Proxy, count: int) -> None:
    record = make_record(now(), data=b"x" * 65_536)
    await behind.create(record)
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable, match="closed the connection"):
        await behind.load(record.key)
    proxy.heal()
    loaded = await behind.load(record.key)
    assert loaded is not None
    assert loaded.data == record.data


@pytest.mark.parametrize("count", [0, 3, 7])
async def test_save_with_a_truncated_response_fails_although_stored(
    behind: MemcachedStore, proxy: Proxy, record: Record, count: int
) -> None:
    await behind.create(record)
    seen = await behind.load(record.key)
    assert seen is not None
    proxy.answers_for(count)  # of STORED and the end of its line
    with pytest.raises(StoreUnavailable, match="closed the connection"):
        await behind.save(replace(seen, data=b"1"), expected=seen.version)
    proxy.heal()
    assert await behind.save(replace(seen, data=b"2"), expected=seen.version) is None
    loaded = await behind.load(record.key)
    assert loaded is not None
    assert loaded.data == b"1"


async def test_connections_cut_under_load(behind: MemcachedStore, proxy: Proxy) -> None:
    layer = SessionLayer(behind, now, SessionPolicy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=20, every=20)


async def test_late_responses(behind: MemcachedStore, proxy: Proxy, record: Record) -> None:
    await behind.create(record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=0.1)
    proxy.heal()
    assert await load is not None


async def test_cancellation_never_mixes_up_responses(behind: MemcachedStore, proxy: Proxy) -> None:
    await cancel_during_responses(behind, proxy, (0, 5, 100, 150, 200, 1000))


async def test_a_cut_listing_raises(behind: MemcachedStore, proxy: Proxy, server: MemcachedServer) -> None:
    server.execute(b"flush_all")
    for _ in range(100):
        await behind.create(make_record(now()))
    proxy.answers_for(5000)
    with pytest.raises(StoreUnavailable):
        assert [found async for found in behind.scan()]
    proxy.heal()
    assert len([found async for found in behind.scan()]) == 100
