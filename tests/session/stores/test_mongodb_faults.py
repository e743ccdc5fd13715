"""Faults of a MongoDB server: each result is correct or an error."""

import asyncio
import gc
import random
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import bson
import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreTimeout, StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, now
from cartapp.session.stores.base import Store
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.support.polling import DEADLINE, retry_while_unavailable
from tests.support.server_faults import (
    cancel_during_responses,
    cut_connections,
    freeze,
    kill_repeatedly,
    stop_and_start,
)
from tests.support.servers.mongodb import MongoServer, running
from tests.support.servers.process import free_port
from tests.support.servers.proxy import Proxy
from tests.support.session_layer import SessionLayer
from tests.support.stores import make_record

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.promise(6, backend="mongodb"),
    # A driver cancelled during connect leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TIMEOUT = 10.0  # enough for a busy machine
SHORT = 1.0  # for tests with an unavailable server


@pytest.fixture(autouse=True)
def no_garbage_for_other_tests() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def own_server() -> Iterator[MongoServer]:
    with running() as server:
        yield server


@pytest.fixture
def server(own_server: MongoServer) -> MongoServer:
    own_server.empty()
    return own_server


@pytest.fixture
async def store(server: MongoServer) -> AsyncIterator[Store]:
    store = open_store(server.url, timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
async def layer(server: MongoServer) -> AsyncIterator[SessionLayer]:
    store = open_store(server.url, timeout=SHORT)
    yield SessionLayer(store, now, SessionPolicy(timeout=SHORT))
    await store.close()


@pytest.fixture
async def proxy(server: MongoServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: Proxy) -> AsyncIterator[Store]:
    """The store behind the proxy."""
    store = open_store(f"mongodb://127.0.0.1:{proxy.port}", timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
async def cut_off(proxy: Proxy) -> AsyncIterator[Store]:
    """The store behind a proxy that will fail."""
    store = open_store(f"mongodb://127.0.0.1:{proxy.port}", timeout=SHORT)
    yield store
    await store.close()


@pytest.fixture
def record() -> Record:
    return make_record(now(), data=b"0")


# -- the server ---------------------------------------------------------------------------------------------


async def test_creation_with_its_indexes_has_one_timeout(proxy: Proxy) -> None:
    store = open_store(f"mongodb://127.0.0.1:{proxy.port}/cart", timeout=SHORT)
    await store.ping()
    proxy.delay_answers(lambda: 0.4 * SHORT)  # three operations, each within the timeout
    with pytest.raises(StoreTimeout):
        await store.create(make_record(now()))
    proxy.delay_answers(None)
    assert await store.create(make_record(now())) is not None
    await store.close()


async def test_stopped_and_started_under_load(server: MongoServer, layer: SessionLayer) -> None:
    await stop_and_start(server.server, layer, keeps=True, refused=10)


async def test_killed_again_and_again_under_load(server: MongoServer, layer: SessionLayer) -> None:
    await kill_repeatedly(server.server, layer, keeps=True)


async def test_frozen_under_load(server: MongoServer, layer: SessionLayer) -> None:
    await freeze(server.server, layer, refused=10)


async def test_no_server_is_running(record: Record) -> None:
    store = open_store(f"mongodb://127.0.0.1:{free_port()}", timeout=0.2)
    for operation in (store.load(record.key), store.create(record), store.ping()):
        with pytest.raises(StoreUnavailable, match=r"Connect call failed|Connection refused"):
            await operation
    await store.close()


# -- the network --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 10, 100, 60_000])
async def test_load_with_a_truncated_response_fails(
    cut_off: Store, store: Store, proxy: Proxy, count: int
) -> None:
    record = make_record(now(), data=b"x" * 65_536)
    await store.create(record)
    assert await retry_while_unavailable(lambda: cut_off.load(record.key)) is not None
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable):
        await cut_off.load(record.key)


@pytest.mark.parametrize("count", [0, 10, 40])
async def test_save_with_a_truncated_response_fails_although_stored(
    cut_off: Store, store: Store, proxy: Proxy, record: Record, count: int
) -> None:
    await store.create(record)
    seen = await retry_while_unavailable(lambda: cut_off.load(record.key))
    assert seen is not None
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable):
        await cut_off.save(replace(seen, data=b"1"), expected=seen.version)
    assert await store.save(replace(seen, data=b"2"), expected=seen.version) is None
    loaded = await store.load(record.key)
    assert loaded is not None
    assert loaded.data == b"1"


async def test_connections_cut_under_load(behind: Store, proxy: Proxy) -> None:
    layer = SessionLayer(behind, now, SessionPolicy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=3, every=50)


async def test_late_responses(behind: Store, proxy: Proxy, record: Record) -> None:
    await behind.create(record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=0.1)
    proxy.heal()
    assert await load is not None


async def test_connections_that_hang_forever_are_closed(cut_off: Store, proxy: Proxy, record: Record) -> None:
    await cut_off.create(record)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    proxy.answers_for(0, hang=True)
    stuck = await asyncio.gather(*(cut_off.load(record.key) for _ in range(10)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailable) for answer in stuck)
    proxy.forget()
    assert await cut_off.load(record.key) is not None


async def loads_until_answered(store: Store, record: Record) -> int:
    """Repeat a load until it succeeds; return the number of failures."""
    failed = 0
    while True:
        try:
            assert await store.load(record.key) is not None
        except StoreUnavailable:
            failed += 1
        else:
            return failed


@pytest.mark.parametrize("guarded", [False, True], ids=["alone", "guarded"])
async def test_b3_swallowed_connections_cost_one_timeout(
    cut_off: Store, proxy: Proxy, record: Record, guarded: bool
) -> None:
    """An operation is ended by the store's own timeout or by that of its caller."""
    await cut_off.create(record)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    before = proxy.connections
    assert before > 5
    proxy.swallow()
    if guarded:
        with pytest.raises(StoreUnavailable, match="did not respond in time"):
            await CircuitBreakerStore(cut_off).load(record.key)
    assert await loads_until_answered(cut_off, record) == (0 if guarded else 1)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    assert proxy.connections > before


async def test_b3_an_overload_closes_no_connections(behind: Store, proxy: Proxy, record: Record) -> None:
    """The timeout of an impatient or queued caller does not invalidate connections."""
    await behind.create(record)
    await asyncio.gather(*(behind.load(record.key) for _ in range(50)))
    before = proxy.connections
    for _ in range(20):
        loads = [asyncio.create_task(behind.load(record.key)) for _ in range(50)]
        await asyncio.sleep(0)
        for load in loads[10:]:
            load.cancel()
        await asyncio.wait(loads)
    assert proxy.connections == before


async def test_b2_writes_follow_a_name_to_the_new_primary(server: MongoServer, record: Record) -> None:
    """FerretDB cannot be demoted, so the proxy replaces its responses by those of a former primary."""
    async with DemotedProxy(server.port) as proxy:
        store = open_store(f"mongodb://127.0.0.1:{proxy.port}", timeout=TIMEOUT)
        version = await store.create(record)
        assert version is not None
        await asyncio.gather(*(store.load(record.key) for _ in range(50)))
        proxy.demote()
        with pytest.raises(StoreUnavailable, match="it has no primary at the moment"):
            await store.load(record.key)
        for _ in range(20):
            version = await store.save(replace(record, data=b"1"), expected=version)
            assert version is not None
        await store.close()


class DemotedProxy(Proxy):
    """A proxy that makes the server behind its open connections a former primary after `demote`.

    Later connections lead to the new primary.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self._demoted: set[asyncio.StreamWriter] = set()

    def demote(self) -> None:
        """Demote the server for all open connections."""
        self._demoted |= self._writers

    async def _pass_on(self, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        is_handshake = b"maxBsonObjectSize" in chunk
        return await super()._pass_on(
            chunk if is_handshake or writer not in self._demoted else _no_primary(chunk), writer
        )


def _no_primary(answer: bytes) -> bytes:
    """Return a former primary's response in place of this one, an OP_MSG of one part."""
    _, request, to, code = struct.unpack_from("<iiii", answer)
    body = bson.encode({"ok": 0.0, "errmsg": "not primary", "code": 10107, "codeName": "NotWritablePrimary"})
    return struct.pack("<iiiiIB", 21 + len(body), request, to, code, 0, 0) + body


async def test_cancellation_never_mixes_up_responses(behind: Store, proxy: Proxy) -> None:
    await cancel_during_responses(behind, proxy, (0, 100, 5000))


async def test_cancelled_callers_leave_the_driver_usable(server: MongoServer) -> None:
    """A cancelled PyMongo operation can keep the lock of its pool forever."""
    store = open_store(server.url, timeout=0.05)

    async def begin_and_look() -> None:
        record = make_record(now())
        with suppress(StoreUnavailable):
            await store.create(record)
            await store.load(record.key)

    under_way: set[asyncio.Task[None]] = set()
    for _ in range(100):
        under_way |= {asyncio.create_task(begin_and_look()) for _ in range(random.choice((1, 20, 100)))}
        for task in random.sample(list(under_way), len(under_way) // 3):
            task.cancel()
        _, under_way = await asyncio.wait(under_way, timeout=random.uniform(0, 0.1))
    if under_way:
        _, under_way = await asyncio.wait(under_way, timeout=DEADLINE)
    assert not under_way
    await store.close()
