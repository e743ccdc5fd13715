"""Idle connections to Redis, Valkey and memcached are used only until one of them fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.exceptions import ResponseError

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, now
from cartapp.session.stores.base import Store
from cartapp.session.stores.redis.errors import is_no_primary, reason_of
from cartapp.session.stores.registry import open_store
from tests.support.polling import DEADLINE, STORE_TIMEOUT, poll_until
from tests.support.server_faults import create_record
from tests.support.servers import memcached
from tests.support.servers.process import free_port
from tests.support.servers.proxy import Proxy
from tests.support.servers.redis import AT_ONCE, RedisServer, redis_binary, running
from tests.support.servers.valkey import valkey_binary
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

TIMEOUT = 2.0
FEW = 2  # timeouts: one, and one more on a busy machine; without invalidation there are ten
MANY = 1000
"""Number of concurrent loads that need ten connections with full batches."""

BINARIES = {"redis": redis_binary, "valkey": valkey_binary}


@pytest.fixture(scope="module", params=BINARIES)
def binary(request: pytest.FixtureRequest) -> Path:
    return BINARIES[request.param]()


@pytest.fixture(scope="module")
def server(binary: Path) -> Iterator[RedisServer]:
    with running(binary) as server:
        yield server


@asynccontextmanager
async def opened(url: str, timeout: float = TIMEOUT) -> AsyncIterator[Store]:
    store = open_store(url, timeout=timeout)
    yield store
    await store.close()


async def connect_often(store: Store, record: Record) -> None:
    """Open ten connections and leave them idle."""
    assert await asyncio.gather(*(store.load(record.key) for _ in range(MANY))) == [record] * MANY


async def timeouts_until_loaded(store: Store, record: Record) -> int:
    """Repeat a load until it succeeds; return the number of timeouts."""
    timeouts = 0
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                assert await store.load(record.key) == record
            except StoreUnavailable as error:
                timeouts += "in time" in str(error)
                await asyncio.sleep(0.01)
            else:
                return timeouts


# -- idle connections swallowed by the network --------------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b3_swallowed_connections_to_redis_cost_one_timeout(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        record = await create_record(store, make_record(now()))
        await connect_often(store, record)
        assert proxy.connections == 10
        proxy.swallow()
        assert await timeouts_until_loaded(store, record) <= FEW
        await connect_often(store, record)


@pytest.mark.promise(6, backend="redis")
async def test_b3_a_connection_in_use_while_others_were_swallowed_is_not_reused(
    server: RedisServer,
) -> None:
    """A load on a new connection is slow while another load's connection is swallowed."""
    async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        record = await create_record(store, make_record(now()))
        await connect_often(store, record)
        proxy.answers_for(0, hang=True)
        lost = asyncio.create_task(store.load(record.key))
        await asyncio.sleep(TIMEOUT / 2)
        late = asyncio.create_task(store.load(record.key))
        await asyncio.wait([lost])
        proxy.heal()
        assert await late == record
        assert isinstance(lost.exception(), StoreUnavailable)
        proxy.swallow()
        assert await timeouts_until_loaded(store, record) == 0


@pytest.mark.promise(6, backend="redis-cluster")
async def test_b3_swallowed_connections_to_a_node_cost_one_timeout(binary: Path) -> None:
    port = free_port()
    async with Proxy(port) as proxy:
        settings = (f"cluster-port {free_port()}", f"cluster-announce-port {proxy.port}")
        with running(binary, "cluster-enabled yes", *settings, port=port) as node:
            node.execute("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            async with opened(f"redis+cluster://127.0.0.1:{proxy.port}") as store:
                await poll_until(
                    lambda: asyncio.to_thread(lambda: "state:ok" in node.execute("CLUSTER", "INFO"))
                )
                record = await create_record(store, make_record(now()))
                assert await asyncio.gather(*(store.load(record.key) for _ in range(10))) == [record] * 10
                assert proxy.connections >= 10
                proxy.swallow()
                assert await timeouts_until_loaded(store, record) <= FEW


@pytest.fixture(scope="module")
def memcached_server() -> Iterator[memcached.MemcachedServer]:
    with memcached.running() as server:
        yield server


@pytest.mark.promise(6, backend="memcached")
async def test_b3_swallowed_connections_to_memcached_cost_one_timeout(
    memcached_server: memcached.MemcachedServer,
) -> None:
    async with (
        Proxy(memcached_server.port) as proxy,
        opened(f"memcached://127.0.0.1:{proxy.port}") as store,
    ):
        record = await create_record(store, make_record(now()))
        await connect_often(store, record)
        assert proxy.connections == 10
        proxy.swallow()
        assert await timeouts_until_loaded(store, record) <= FEW
        await connect_often(store, record)


# -- failover to a new primary ------------------------------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b2_writes_follow_a_name_to_the_new_primary(binary: Path, server: RedisServer) -> None:
    with running(binary, AT_ONCE, f"replicaof 127.0.0.1 {server.port}") as replica:
        await poll_until(lambda: asyncio.to_thread(replica.has, "master_link_status:up"))
        async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
            records = [await create_record(store, make_record(now(), user_id="7")) for _ in range(20)]
            await connect_often(store, records[0])
            assert server.execute("WAIT", 1, 0) == 1
            replica.execute("REPLICAOF", "NO", "ONE")
            server.execute("REPLICAOF", "127.0.0.1", replica.port)
            try:
                with pytest.raises(StoreUnavailable, match="it is a read-only replica"):
                    await store.create(make_record(now()))  # the name has not moved yet
                await connect_often(store, records[0])
                proxy.redirect(replica.port)
                await write_all(store, records)
            finally:
                server.execute("REPLICAOF", "NO", "ONE")


@pytest.mark.promise(6, backend="redis")
async def test_no_read_comes_from_the_former_primary_after_a_write(binary: Path, server: RedisServer) -> None:
    """Though connections to it were opened after the last refusal. The servers differ in the record."""
    with running(binary) as new, running(binary) as former:
        async with Proxy(former.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
            before = await create_record(store, make_record(now(), data=b"before"))
            proxy.redirect(new.port)
            async with opened(new.url) as other:
                after = await create_record(other, replace(before, data=b"after"))
            former.execute("REPLICAOF", "127.0.0.1", 1)
            proxy.redirect(former.port)
            with pytest.raises(StoreUnavailable, match="it is a read-only replica"):
                await store.create(make_record(now()))
            proxy.delay_answers(lambda: 0.3)
            loads = [asyncio.create_task(store.load(before.key)) for _ in range(5 * 100)]
            await poll_until(lambda: asyncio.to_thread(former.has, "connected_clients:6"))
            proxy.redirect(new.port)
            assert await store.create(make_record(now())) is not None
            assert await asyncio.gather(*loads) == [before] * len(loads)
            proxy.delay_answers(None)
            assert await asyncio.gather(*(store.load(before.key) for _ in range(MANY))) == [after] * MANY


async def write_all(store: Store, records: list[Record]) -> None:
    """Change all records concurrently, by different operations."""
    operations = (
        store.touch(r.key, expected=r.version, last_used=1, expires=r.expires) for r in records[::2]
    )
    saves = (store.save(replace(r, data=b"1"), expected=r.version) for r in records[1::2])
    assert await asyncio.gather(*operations) == [True] * 10
    assert None not in await asyncio.gather(*saves)
    assert await store.create(make_record(now(), user_id="7")) is not None
    assert await store.delete(records[0].key)


@pytest.mark.promise(6, backend="redis")
async def test_b2_reads_follow_a_name_to_the_new_primary(binary: Path, server: RedisServer) -> None:
    """A load is not repeated; the next one uses the new primary."""
    lost = ("replica-serve-stale-data no", f"replicaof 127.0.0.1 {free_port()}")
    with running(binary, *lost) as replica:
        async with Proxy(replica.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
            with pytest.raises(StoreUnavailable, match="it is a replica that has lost its master"):
                await store.load(make_record(now()).key)
            proxy.redirect(server.port)
            assert await store.load(make_record(now()).key) is None


def test_b2_a_script_on_a_replica_with_redis_6() -> None:
    """The error message of Redis 6, which cannot be installed here."""
    refusal = ResponseError(
        "Error running script (call to f_1): @user_script:4: @user_script: 4: -READONLY You can't write "
        "against a read only replica."
    )
    assert is_no_primary(refusal)
    assert reason_of(refusal) == "it is a read-only replica"
    assert not is_no_primary(ResponseError("unknown command"))
    assert not is_no_primary(b": -READONLY ")


# -- idle connections that the server has closed ------------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b4_redis_closes_idle_connections_and_no_request_fails(binary: Path) -> None:
    with running(binary, "timeout 1") as server:
        async with opened(server.url, STORE_TIMEOUT) as store:
            record = await create_record(store, make_record(now()))
            for _ in range(2):
                await connect_often(store, record)
                await poll_until(lambda: asyncio.to_thread(server.has, "connected_clients:1"))
                version = await store.save(record, expected=record.version)
                assert version is not None
                record = replace(record, version=version)


@pytest.mark.promise(6, backend="memcached")
async def test_b4_memcached_closes_idle_connections_and_no_request_fails() -> None:
    with memcached.running("--extended=idle_timeout=1") as server:
        async with opened(server.url, STORE_TIMEOUT) as store:
            record = await create_record(store, make_record(now()))
            least = server.stats()["curr_connections"] - 1

            def are_closed() -> bool:
                return server.stats()["curr_connections"] <= least

            for _ in range(2):
                await connect_often(store, record)
                await poll_until(lambda: asyncio.to_thread(are_closed))
                version = await store.save(record, expected=record.version)
                assert version is not None
                record = replace(record, version=version)


# -- proxies that accept only the store's commands ----------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b12_a_proxy_that_closes_on_client_setinfo(server: RedisServer) -> None:
    """As twemproxy on each unknown command."""
    async with Proxy(server.port, refuses=b"SETINFO") as proxy:
        async with opened(f"redis://127.0.0.1:{proxy.port}") as store:
            record = await create_record(store, make_record(now(), user_id="7"))
            assert await store.load(record.key) == record
            assert await store.delete(record.key, expected=record)
        assert proxy.connections == 1
