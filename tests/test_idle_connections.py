"""Idle connections to Redis, Valkey and memcached: each is used only as long as connections there work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.exceptions import ResponseError

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, now
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.redis_errors import is_no_primary, reason_of

from .faults import created
from .servers import memcached
from .servers.process import free_port
from .servers.proxy import Proxy
from .servers.redis import AT_ONCE, RedisServer, redis_binary, running
from .servers.valkey import valkey_binary
from .stores import make_record
from .waiting import DEADLINE, PATIENCE, until

pytestmark = pytest.mark.anyio

TIMEOUT = 2.0
FEW = 2  # timeouts: one, and one that a busy machine may cause; there were ten, one for each connection
MANY = 1000
"""Loads at a time, as many as ten connections carry, if each takes its largest batch."""

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
    """Open ten connections, which are idle afterwards."""
    assert await asyncio.gather(*(store.load(record.key) for _ in range(MANY))) == [record] * MANY


async def timeouts_until_loaded(store: Store, record: Record) -> int:
    """Load again and again until that works; return how many loads have timed out."""
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


# -- idle connections that the network has forgotten --------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b3_forgotten_connections_to_redis_cost_one_timeout(server: RedisServer) -> None:
    async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        record = await created(store, make_record(now()))
        await connect_often(store, record)
        assert proxy.connections == 10
        proxy.swallow()
        assert await timeouts_until_loaded(store, record) <= FEW
        await connect_often(store, record)


@pytest.mark.promise(6, backend="redis")
async def test_b3_a_connection_in_use_when_others_were_forgotten_is_not_used_again(
    server: RedisServer,
) -> None:
    """A load and its connection are slow, while another one's connection turns out to be forgotten."""
    async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
        record = await created(store, make_record(now()))
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
async def test_b3_forgotten_connections_to_a_node_cost_one_timeout(binary: Path) -> None:
    port = free_port()
    async with Proxy(port) as proxy:
        settings = (f"cluster-port {free_port()}", f"cluster-announce-port {proxy.port}")
        with running(binary, "cluster-enabled yes", *settings, port=port) as node:
            node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            async with opened(f"redis+cluster://127.0.0.1:{proxy.port}") as store:
                await until(lambda: asyncio.to_thread(lambda: "state:ok" in node.ask("CLUSTER", "INFO")))
                record = await created(store, make_record(now()))
                assert await asyncio.gather(*(store.load(record.key) for _ in range(10))) == [record] * 10
                assert proxy.connections >= 10
                proxy.swallow()
                assert await timeouts_until_loaded(store, record) <= FEW


@pytest.fixture(scope="module")
def memcached_server() -> Iterator[memcached.MemcachedServer]:
    with memcached.running() as server:
        yield server


@pytest.mark.promise(6, backend="memcached")
async def test_b3_forgotten_connections_to_memcached_cost_one_timeout(
    memcached_server: memcached.MemcachedServer,
) -> None:
    async with (
        Proxy(memcached_server.port) as proxy,
        opened(f"memcached://127.0.0.1:{proxy.port}") as store,
    ):
        record = await created(store, make_record(now()))
        await connect_often(store, record)
        assert proxy.connections == 10
        proxy.swallow()
        assert await timeouts_until_loaded(store, record) <= FEW
        await connect_often(store, record)


# -- a name that moves to a new primary ---------------------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b2_writes_follow_a_name_from_a_demoted_primary_to_the_new_one(
    binary: Path, server: RedisServer
) -> None:
    with running(binary, AT_ONCE, f"replicaof 127.0.0.1 {server.port}") as replica:
        await until(lambda: asyncio.to_thread(replica.has, "master_link_status:up"))
        async with Proxy(server.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
            records = [await created(store, make_record(now(), user_id="7")) for _ in range(20)]
            await connect_often(store, records[0])
            assert server.ask("WAIT", 1, 0) == 1
            replica.ask("REPLICAOF", "NO", "ONE")
            server.ask("REPLICAOF", "127.0.0.1", replica.port)
            try:
                with pytest.raises(StoreUnavailable, match="it is a read-only replica"):
                    await store.create(make_record(now()))  # the name has not moved yet
                await connect_often(store, records[0])
                proxy.redirect(replica.port)
                await write_all(store, records)
            finally:
                server.ask("REPLICAOF", "NO", "ONE")


async def write_all(store: Store, records: list[Record]) -> None:
    """Change each record in some way, at the same time."""
    operations = (
        store.touch(r.key, expected=r.version, last_used=1, expires=r.expires) for r in records[::2]
    )
    saves = (store.save(replace(r, data=b"1"), expected=r.version) for r in records[1::2])
    assert await asyncio.gather(*operations) == [True] * 10
    assert None not in await asyncio.gather(*saves)
    assert await store.create(make_record(now(), user_id="7")) is not None
    assert await store.delete(records[0].key)


@pytest.mark.promise(6, backend="redis")
async def test_b2_reads_follow_the_name_from_a_replica_that_serves_none(
    binary: Path, server: RedisServer
) -> None:
    """Nothing is sent again for a load; the next one follows the name."""
    lost = ("replica-serve-stale-data no", f"replicaof 127.0.0.1 {free_port()}")
    with running(binary, *lost) as replica:
        async with Proxy(replica.port) as proxy, opened(f"redis://127.0.0.1:{proxy.port}") as store:
            with pytest.raises(StoreUnavailable, match="it is a replica that has lost its master"):
                await store.load(make_record(now()).key)
            proxy.redirect(server.port)
            assert await store.load(make_record(now()).key) is None


def test_b2_a_script_on_a_replica_with_redis_6() -> None:
    """Its own words, as no Redis 6 can be installed here."""
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
        async with opened(server.url, PATIENCE) as store:
            record = await created(store, make_record(now()))
            for _ in range(2):
                await connect_often(store, record)
                await until(lambda: asyncio.to_thread(server.has, "connected_clients:1"))
                version = await store.save(record, expected=record.version)
                assert version is not None
                record = replace(record, version=version)


@pytest.mark.promise(6, backend="memcached")
async def test_b4_memcached_closes_idle_connections_and_no_request_fails() -> None:
    with memcached.running("--extended=idle_timeout=1") as server:
        async with opened(server.url, PATIENCE) as store:
            record = await created(store, make_record(now()))
            least = server.stats()["curr_connections"] - 1

            def are_closed() -> bool:
                return server.stats()["curr_connections"] <= least

            for _ in range(2):
                await connect_often(store, record)
                await until(lambda: asyncio.to_thread(are_closed))
                version = await store.save(record, expected=record.version)
                assert version is not None
                record = replace(record, version=version)


# -- proxies that take sessions' commands only --------------------------------------------------------------


@pytest.mark.promise(6, backend="redis")
async def test_b12_a_proxy_that_closes_on_client_setinfo(server: RedisServer) -> None:
    """As a twemproxy does on each command that it does not know."""
    async with Proxy(server.port, refuses=b"SETINFO") as proxy:
        async with opened(f"redis://127.0.0.1:{proxy.port}") as store:
            record = await created(store, make_record(now(), user_id="7"))
            assert await store.load(record.key) == record
            assert await store.delete(record.key, expected=record)
        assert proxy.connections == 1
