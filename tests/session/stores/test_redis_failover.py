"""Failover of a killed or hanging master under load: the store finds the new one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, now
from cartapp.session.stores.redis.store import RedisStore
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.support.polling import DEADLINE, poll_until, wait_for
from tests.support.request_loops import RequestLoops
from tests.support.servers.redis import (
    RedisServer,
    RedisServers,
    redis_binary,
    running_cluster,
    running_sentinels,
)
from tests.support.servers.valkey import valkey_binary
from tests.support.stores import make_record

pytestmark = [pytest.mark.anyio, pytest.mark.alone]

TIMEOUT = 1.0
PREFIX = "cart:session:"
BINARIES = {"redis": redis_binary, "valkey": valkey_binary}


BOTH_WAYS = pytest.mark.parametrize(
    ("binary", "kill"),
    [pytest.param("redis", True, id="redis-killed"), pytest.param("valkey", False, id="valkey-frozen")],
    indirect=["binary"],
)


@pytest.fixture
def binary(request: pytest.FixtureRequest) -> Path:
    return BINARIES[request.param]()


@pytest.fixture
def sentinels(binary: Path) -> Iterator[RedisServers]:
    with running_sentinels(binary) as servers:
        yield servers


@pytest.fixture
def cluster(binary: Path) -> Iterator[RedisServers]:
    with running_cluster(binary) as servers:
        yield servers


@dataclass
class Writer:
    """A client that counts in its own record and checks each value."""

    store: CircuitBreakerStore
    record: Record
    count: int = 0
    unknown: int = 0
    """Failed writes since the last confirmed one, which may have been stored."""
    lost: int = 0
    """Confirmed writes that disappeared."""
    answered: int = 0
    refused: int = 0

    async def write(self) -> None:
        """Increment the number once."""
        try:
            seen = await self.store.load(self.record.key)
            assert seen is not None
            self._compare(int(seen.data))
            changed = replace(seen, data=b"%d" % (self.count + 1))
            version = await self.store.save(changed, expected=seen.version)
        except StoreUnavailable:
            self.refused += 1
            self.unknown += 1
            return
        if version is not None:  # None: an unconfirmed write was stored, or a confirmed one was lost
            self.count += 1
            self.answered += 1

    async def is_confirmed(self) -> bool:
        """Write once more; return whether no write is unconfirmed."""
        await self.write()
        return not self.unknown

    def _compare(self, found: int) -> None:
        assert found <= self.count + self.unknown
        self.lost += max(0, self.count - found)
        self.count, self.unknown = found, 0


class Load(RequestLoops):
    """All writers."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        super().__init__()
        self.writers = writers

    def lost(self) -> int:
        return sum(writer.lost for writer in self.writers)

    async def wait_for_each(self, figure: str, number: int, writers: Sequence[Writer] = ()) -> None:
        """Wait until `answered` or `refused` of each writer has increased by `number`."""
        targets = [(writer, getattr(writer, figure) + number) for writer in writers or self.writers]
        await self.wait_until(lambda: all(getattr(writer, figure) >= least for writer, least in targets))


@asynccontextmanager
async def load(store: RedisStore, *, writers: int = 12) -> AsyncIterator[Load]:
    """Run writers until the block ends, then check each writer's record."""
    guarded = CircuitBreakerStore(store)
    working = Load([Writer(guarded, make_record(now(), data=b"0")) for _ in range(writers)])
    for writer in working.writers:
        assert await store.create(writer.record) is not None
    async with working.running(*((writer.write, 0.002) for writer in working.writers)):
        yield working
    for writer in working.writers:
        await poll_until(writer.is_confirmed)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    store = open_store(url, timeout=TIMEOUT)
    assert isinstance(store, RedisStore)
    yield store
    await store.close()


def fail(kill: bool, server: RedisServer) -> Callable[[], None]:
    return server.server.kill if kill else server.server.pause


def masters(servers: Sequence[RedisServer]) -> list[RedisServer]:
    return [server for server in servers if server.has("role:master")]


@pytest.mark.promise(6, backend="redis-sentinel")
@BOTH_WAYS
async def test_sentinels_promote_another_master(
    sentinels: RedisServers, kill: bool, record_property: Callable[[str, object], None]
) -> None:
    master, *replicas = sentinels.servers[:3]
    async with opened(sentinels.url) as store, load(store) as working:
        await working.wait_for_each("answered", 20)
        await asyncio.to_thread(fail(kill, master))
        await working.wait_for_each("refused", 1)
        await working.wait_for_each("answered", 20)
        if not kill:  # restarted, it considers itself the master until the sentinels demote it
            master.server.resume()
            await working.wait_for_each("answered", 20)
        assert len(masters(replicas)) == 1
    record_property("lost", working.lost())
    # Replication is asynchronous: a killed master may have confirmed a write without replicating it. Each
    # writer waits for its response, so it loses one write at most.
    assert working.lost() <= len(working.writers)


@pytest.mark.promise(6, backend="redis-cluster")
@BOTH_WAYS
async def test_a_node_of_a_cluster_is_replaced(
    cluster: RedisServers, kill: bool, record_property: Callable[[str, object], None]
) -> None:
    nodes = cluster.servers
    async with opened(cluster.url) as store, load(store, writers=30) as working:
        await working.wait_for_each("answered", 20)
        names = [name.decode() for name in nodes[0].execute("KEYS", "*")]
        there = [writer for writer in working.writers if PREFIX + writer.record.key in names]
        assert there
        await asyncio.to_thread(fail(kill, nodes[0]))
        await working.wait_for_each("refused", 1, there)
        await working.wait_for_each("answered", 20)
        if not kill:
            nodes[0].server.resume()
            await asyncio.to_thread(wait_for, lambda: nodes[0].has("role:slave"))
            await working.wait_for_each("answered", 20)
        assert nodes[3].has("role:master")
        found = [summary.key async for summary in store.scan()]
        assert sorted(found) == sorted(writer.record.key for writer in working.writers)
    record_property("lost", working.lost())
    assert working.lost() <= len(working.writers)


@pytest.mark.promise(6, backend="redis-cluster")
@pytest.mark.parametrize("binary", ["redis"], indirect=True)
async def test_keys_moved_to_another_node(cluster: RedisServers) -> None:
    """The client follows ASK during a slot migration and MOVED afterwards."""
    source, target = cluster.servers[:2]
    async with opened(cluster.url) as store, load(store, writers=30) as working:
        await working.wait_for_each("answered", 10)
        slots = {
            source.execute("CLUSTER", "KEYSLOT", PREFIX + writer.record.key) for writer in working.writers
        }
        moving = [slot for slot in slots if slot <= 5460]  # those of the first node
        for slot in moving:
            await asyncio.to_thread(move, slot, source, target, cluster.servers[2])
            await working.wait_for_each("answered", 2)
        assert moving
        assert sum(writer.refused + writer.lost for writer in working.writers) == 0


def move(slot: int, source: RedisServer, target: RedisServer, third: RedisServer) -> None:
    """Migrate a slot as redis-cli does."""
    ids = {server.port: server.execute("CLUSTER", "MYID") for server in (source, target)}
    target.execute("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
    source.execute("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
    for name in source.execute("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.execute("MIGRATE", "127.0.0.1", target.port, name, 0, 5000, "AUTH", target.password)
    for server in (target, source, third):
        server.execute("CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])


@pytest.mark.parametrize("binary", ["valkey"], indirect=True)
async def test_slots_without_a_node(cluster: RedisServers) -> None:
    for node in cluster.servers:
        node.execute("CONFIG", "SET", "cluster-require-full-coverage", "no")
    first = cluster.servers[0]
    for node in cluster.servers[:3]:
        node.execute("CLUSTER", "DELSLOTSRANGE", 0, 5460)
    wait_for(lambda: "cluster_slots_assigned:10923" in first.execute("CLUSTER", "INFO"))
    async with opened(cluster.url) as store:
        outcomes: set[str] = set()
        async with asyncio.timeout(DEADLINE):
            while "done" not in outcomes or len(outcomes) == 1:
                try:
                    assert await store.create(make_record(now())) is not None
                    outcomes.add("done")
                except StoreUnavailable as error:
                    outcomes.add(str(error).partition("used: ")[2])
        assert outcomes - {"done"} <= {"no node of the cluster has this key.", "the cluster is down."}
