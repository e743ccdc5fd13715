"""Whatever happens to a memcached server, each answer is a true one or a refusal."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.policy import Policy
from cartapp.session.record import Record, now
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.memcached import MemcachedStore
from cartapp.session.stores.memcached_url import Address

from .faults import (
    cancel_amid_answers,
    cut_connections,
    freeze,
    kill_again_and_again,
    stop_and_start,
    web_server,
)
from .layer import Layer
from .servers.memcached import MemcachedServer, running
from .servers.process import free_port
from .servers.proxy import Proxy
from .stores import make_record
from .waiting import until_there

pytestmark = [pytest.mark.anyio, pytest.mark.promise(6, backend="memcached")]

TIMEOUT = 10.0  # enough for a busy machine: only a server that hangs is waited for in vain
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
def layer(store: Store) -> Layer:
    return Layer(store, now, Policy(timeout=TIMEOUT))


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


async def test_stopped_and_started_under_load(server: MemcachedServer, layer: Layer) -> None:
    visitors = await stop_and_start(server.server, layer, keeps=False)
    assert all(visitor.vanished == 1 for visitor in visitors.visitors)  # it keeps nothing


async def test_killed_again_and_again_under_load(server: MemcachedServer, layer: Layer) -> None:
    await kill_again_and_again(server.server, layer, keeps=False, times=5)


async def test_frozen_under_load(server: MemcachedServer) -> None:
    store = open_store(server.url, timeout=SHORT)
    await freeze(server.server, Layer(store, now, Policy(timeout=SHORT)))
    await store.close()


async def test_nobody_there(record: Record) -> None:
    store = open_store(f"memcached://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.load(record.key)
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.ping()
    await store.close()


async def test_something_else_there(record: Record) -> None:
    async with web_server() as port:
        store = open_store(f"memcached://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="does not speak memcached's protocol"):
            await store.load(record.key)
        await store.close()


async def test_as_many_connections_as_the_server_takes(record: Record) -> None:
    with running("--conn-limit=30", "--threads=1") as server:
        taken = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(30)]
        store = open_store(server.url, timeout=TIMEOUT)
        with pytest.raises(StoreUnavailable):
            await store.create(record)
        for _, writer in taken:
            writer.close()
            await writer.wait_closed()
        await until_there(store)  # when the server has seen them leave
        assert await store.create(record) is not None
        await store.close()


# -- its memory ---------------------------------------------------------------------------------------------


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


async def fill(layer: Layer, cookies: list[str]) -> None:
    for _ in range(1000):
        cookies.append(await layer.begin(stuff="x" * 60_000))


async def test_out_of_memory_where_nothing_is_evicted() -> None:
    with running("--memory-limit=4", "--disable-evictions") as server:
        store = open_store(server.url)
        layer = Layer(store, now)
        cookies: list[str] = []
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await fill(layer, cookies)
        session, _ = await layer.visit(cookies[0])
        session["more"] = "x" * 5000
        with pytest.raises(StoreUnavailable, match="out of memory"):
            await session.save()
        for cookie in cookies:  # the refused write took nothing away
            assert await layer.read(cookie) == {"stuff": "x" * 60_000}
        for cookie in cookies[5:]:
            session, _ = await layer.visit(cookie)
            session.destroy()
            await session.save()
        await layer.begin(stuff="x" * 60_000)
        await store.close()


async def test_what_a_full_server_evicts_is_absent() -> None:
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


# -- the way there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 7, 20, 40, 30_000, 65_590])
async def test_a_load_whose_answer_is_cut(behind: MemcachedStore, proxy: Proxy, count: int) -> None:
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
async def test_a_save_whose_answer_is_cut_is_refused_though_done(
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
    layer = Layer(behind, now, Policy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=20, every=20)


async def test_answers_that_come_late(behind: MemcachedStore, proxy: Proxy, record: Record) -> None:
    await behind.create(record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=0.1)
    proxy.heal()
    assert await load is not None


async def test_nobody_gets_the_answer_to_another_ones_question(behind: MemcachedStore, proxy: Proxy) -> None:
    await cancel_amid_answers(behind, proxy, (0, 5, 100, 150, 200, 1000))


async def test_a_listing_that_is_cut_is_no_whole_one(
    behind: MemcachedStore, proxy: Proxy, server: MemcachedServer
) -> None:
    server.ask(b"flush_all")
    for _ in range(100):
        await behind.create(make_record(now()))
    proxy.answers_for(5000)
    with pytest.raises(StoreUnavailable):
        assert [found async for found in behind.scan()]
    proxy.heal()
    assert len([found async for found in behind.scan()]) == 100
