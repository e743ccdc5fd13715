"""Whatever happens to a MongoDB server, each answer is a true one or a refusal."""

import asyncio
import gc
import random
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import bson
import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.guard import GuardedStore
from cartapp.session.policy import Policy
from cartapp.session.record import Record, now
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store

from .faults import cancel_amid_answers, cut_connections, freeze, kill_again_and_again, stop_and_start
from .layer import Layer
from .servers.mongodb import MongoServer, running
from .servers.process import free_port
from .servers.proxy import Proxy
from .stores import make_record
from .waiting import DEADLINE, answer_to

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.promise(6, backend="mongodb"),
    # The driver leaves a socket to the garbage collector when it is cancelled while it connects.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

TIMEOUT = 10.0  # enough for a busy machine
SHORT = 1.0  # where a server is waited for in vain


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
async def layer(server: MongoServer) -> AsyncIterator[Layer]:
    store = open_store(server.url, timeout=SHORT)
    yield Layer(store, now, Policy(timeout=SHORT))
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
    """The store behind a proxy that is going to break."""
    store = open_store(f"mongodb://127.0.0.1:{proxy.port}", timeout=SHORT)
    yield store
    await store.close()


@pytest.fixture
def record() -> Record:
    return make_record(now(), data=b"0")


# -- the server ---------------------------------------------------------------------------------------------


async def test_stopped_and_started_under_load(server: MongoServer, layer: Layer) -> None:
    await stop_and_start(server.server, layer, keeps=True, refused=10)


async def test_killed_again_and_again_under_load(server: MongoServer, layer: Layer) -> None:
    await kill_again_and_again(server.server, layer, keeps=True)


async def test_frozen_under_load(server: MongoServer, layer: Layer) -> None:
    await freeze(server.server, layer, refused=10)


async def test_nobody_there(record: Record) -> None:
    store = open_store(f"mongodb://127.0.0.1:{free_port()}", timeout=0.2)
    for operation in (store.load(record.key), store.create(record), store.ping()):
        with pytest.raises(StoreUnavailable, match="Connect call failed"):
            await operation
    await store.close()


# -- the way there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 10, 100, 60_000])
async def test_a_load_whose_answer_is_cut(cut_off: Store, store: Store, proxy: Proxy, count: int) -> None:
    record = make_record(now(), data=b"x" * 65_536)
    await store.create(record)
    assert await answer_to(lambda: cut_off.load(record.key)) is not None
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable):
        await cut_off.load(record.key)


@pytest.mark.parametrize("count", [0, 10, 40])
async def test_a_save_whose_answer_is_cut_is_refused_though_done(
    cut_off: Store, store: Store, proxy: Proxy, record: Record, count: int
) -> None:
    await store.create(record)
    seen = await answer_to(lambda: cut_off.load(record.key))
    assert seen is not None
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable):
        await cut_off.save(replace(seen, data=b"1"), expected=seen.version)
    assert await store.save(replace(seen, data=b"2"), expected=seen.version) is None
    loaded = await store.load(record.key)
    assert loaded is not None
    assert loaded.data == b"1"


async def test_connections_cut_under_load(behind: Store, proxy: Proxy) -> None:
    layer = Layer(behind, now, Policy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=3, every=50)


async def test_answers_that_come_late(behind: Store, proxy: Proxy, record: Record) -> None:
    await behind.create(record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=0.1)
    proxy.heal()
    assert await load is not None


async def test_connections_that_hang_for_good_are_given_up(
    cut_off: Store, proxy: Proxy, record: Record
) -> None:
    await cut_off.create(record)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    proxy.answers_for(0, hang=True)
    stuck = await asyncio.gather(*(cut_off.load(record.key) for _ in range(10)), return_exceptions=True)
    assert {type(answer) for answer in stuck} == {StoreUnavailable}
    proxy.forget()
    assert await cut_off.load(record.key) is not None


async def loads_until_answered(store: Store, record: Record) -> int:
    """Load again and again until that works; return how many loads have failed."""
    failed = 0
    while True:
        try:
            assert await store.load(record.key) is not None
        except StoreUnavailable:
            failed += 1
        else:
            return failed


@pytest.mark.parametrize("guarded", [False, True], ids=["alone", "guarded"])
async def test_b3_forgotten_connections_cost_one_timeout(
    cut_off: Store, proxy: Proxy, record: Record, guarded: bool
) -> None:
    """What ends an operation is the store's own timeout, or that of the layer around it."""
    await cut_off.create(record)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    before = proxy.connections
    assert before > 5
    proxy.swallow()
    if guarded:
        with pytest.raises(StoreUnavailable, match="did not answer within"):
            await GuardedStore(cut_off, SHORT).load(record.key)
    assert await loads_until_answered(cut_off, record) == (0 if guarded else 1)
    await asyncio.gather(*(cut_off.load(record.key) for _ in range(50)))
    assert proxy.connections > before


async def test_b3_an_overload_closes_no_connections(behind: Store, proxy: Proxy, record: Record) -> None:
    """A caller that gives up soon, or that waits for its turn, says nothing about the connections."""
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


async def test_b2_writes_follow_a_name_from_a_demoted_primary_to_the_new_one(
    server: MongoServer, record: Record
) -> None:
    """As FerretDB cannot be demoted, the proxy replaces its answers by what a former primary says."""
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
    """A proxy whose connections lead, after `demote`, to a server that is not the primary any more.

    Connections that are made later lead to the new primary.
    """

    def __init__(self, server_port: int) -> None:
        super().__init__(server_port)
        self._demoted: set[asyncio.StreamWriter] = set()

    def demote(self) -> None:
        """Demote the server of the connections that there are."""
        self._demoted |= self._writers

    async def _pass_on(self, chunk: bytes, writer: asyncio.StreamWriter) -> bool:
        is_handshake = b"maxBsonObjectSize" in chunk
        return await super()._pass_on(
            chunk if is_handshake or writer not in self._demoted else _no_primary(chunk), writer
        )


def _no_primary(answer: bytes) -> bytes:
    """What a former primary says in the place of this answer, an OP_MSG of one part."""
    _, request, to, code = struct.unpack_from("<iiii", answer)
    body = bson.encode({"ok": 0.0, "errmsg": "not primary", "code": 10107, "codeName": "NotWritablePrimary"})
    return struct.pack("<iiiiIB", 21 + len(body), request, to, code, 0, 0) + body


async def test_nobody_gets_the_answer_to_another_ones_question(behind: Store, proxy: Proxy) -> None:
    await cancel_amid_answers(behind, proxy, (0, 100, 5000))


async def test_callers_that_give_up_leave_the_driver_usable(server: MongoServer) -> None:
    """Cancelled at the wrong moment, PyMongo's own operations would keep the lock of its pool for good."""
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
