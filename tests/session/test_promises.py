"""The promises of the session layer, on the real store of every backend."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from cartapp.session.crypto import KeyRing, new_secret
from cartapp.session.errors import SessionTooLarge
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import key_from_id
from cartapp.session.request_session import RequestSession
from cartapp.session.stores.base import Listable, Purgeable, Store
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from tests.conftest import ManualClock
from tests.support.databases import DATABASES
from tests.support.session_layer import SessionLayer
from tests.support.stores import LISTABLE, SQL, STORES, Open, make_record
from tests.support.versions import version_of

pytestmark = pytest.mark.anyio

SLOW_POLICY = SessionPolicy(timeout=20)  # many concurrent tests make a machine slow


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def store(place: Open) -> AsyncIterator[Store]:
    store = place()
    yield store
    await store.close()


@pytest.fixture
def layer(store: Store, clock: ManualClock) -> SessionLayer:
    return SessionLayer(store, clock, SLOW_POLICY)


async def listed(store: Store) -> list[str]:
    assert isinstance(store, Listable)
    return [summary.key async for summary in store.scan()]


@pytest.mark.promise
@pytest.mark.parametrize("backend", STORES)
def test_the_server_reports_its_version(
    backend: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    record_property("version", [backend, version_of(backend, request)])


# -- the id -------------------------------------------------------------------------------------------------


@pytest.mark.promise(4)
async def test_store_contents_grant_no_access(store: Store, layer: SessionLayer) -> None:
    cookie = await layer.begin(a=1)
    record = await store.load(key_from_id(cookie))
    assert record is not None
    assert cookie not in repr(record)
    for known in (record.key, repr(record.version), record.data.decode()):
        assert (await layer.load(known))[0].is_new


# -- economy ------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """A store that records its calls."""

    store: Store
    calls: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if name in ("create", "load", "save", "touch", "delete"):
            self.calls.append(name)
        return getattr(self.store, name)

    def since(self) -> list[str]:
        """Return the calls since the last one of this method."""
        calls, self.calls = self.calls, []
        return calls


@pytest.mark.promise(7)
async def test_store_operations_of_each_kind_of_request(store: Store, clock: ManualClock) -> None:
    counted = Counted(store)
    layer = SessionLayer(counted, clock, SLOW_POLICY)
    counted.since()  # the circuit breaker reads its name
    RequestSession(layer.manager, lambda: None)
    await layer.load()
    assert counted.since() == []
    cookie = await layer.begin(a=1)
    assert counted.since() == ["create"]
    RequestSession(layer.manager, lambda: cookie)  # a request that does not load
    assert counted.since() == []
    for due in (False, True, False):
        clock.advance(360 if due else 1)
        session, _ = await layer.load(cookie)
        await session.save()
        assert counted.since() == ["load", *(["touch"] if due else [])]
    session["a"] = 2
    await session.save()
    assert counted.since() == ["save"]  # without the earlier load
    assert await layer.read(cookie) == {"a": 2}


@pytest.mark.promise(7)
@pytest.mark.parametrize("place", LISTABLE, indirect=True)
async def test_requests_that_store_nothing_leave_no_record(store: Store, layer: SessionLayer) -> None:
    session, request_session = await layer.load()
    session["a"] = 1
    del session["a"]
    await session.save()
    assert (request_session.cookie(), await listed(store)) == (None, [])


# -- expiry -------------------------------------------------------------------------------------------------


@pytest.mark.promise(8)
async def test_an_idle_session_expires_before_the_server_removes_it(
    layer: SessionLayer, clock: ManualClock
) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(3600)
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(360)
    assert await layer.read(cookie) == {}


@pytest.mark.promise(8)
async def test_the_absolute_lifetime_ends_a_used_session(store: Store, clock: ManualClock) -> None:
    layer = SessionLayer(store, clock, SessionPolicy(ttl=100, max_age=1000, timeout=20))
    cookie = await layer.begin(a=1)
    for _ in range(19):
        clock.advance(50)
        session, _ = await layer.load(cookie)
        assert session == {"a": 1}
        await session.save()
    clock.advance(50)
    assert await layer.read(cookie) == {}


# -- unreadable ---------------------------------------------------------------------------------------------


@pytest.mark.promise(10)
@pytest.mark.parametrize("data", [b"garbage", b"\x80\x04K\x01.", b"[" * 10_000], ids=repr)
async def test_garbage_counts_as_an_absent_session_and_is_logged(
    store: Store, layer: SessionLayer, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cookie = await layer.begin(a=1)
    record = await store.load(key_from_id(cookie))
    assert record is not None
    assert await store.save(replace(record, data=data), expected=record.version) is not None
    session, request_session = await layer.load(cookie)
    assert (session.is_new, session) == (True, {})
    assert len([line for line in caplog.messages if "unreadable" in line]) == 1
    session["b"] = 1
    await session.save()
    assert request_session.cookie() not in (None, cookie)


@pytest.mark.promise(10)
async def test_a_session_encrypted_with_a_lost_key_is_absent(store: Store, clock: ManualClock) -> None:
    before, after = (
        SessionLayer(EncryptedStore(store, KeyRing(new_secret())), clock, SLOW_POLICY) for _ in range(2)
    )
    cookie = await before.begin(a=1)
    assert await after.read(cookie) == {}
    assert await before.read(cookie) == {"a": 1}


# -- bounds -------------------------------------------------------------------------------------------------


@pytest.mark.promise(11)
async def test_a_too_large_session_is_not_saved(store: Store, clock: ManualClock) -> None:
    layer = SessionLayer(store, clock, SessionPolicy(max_bytes=100, timeout=20))
    cookie = await layer.begin(a=1)
    session, _ = await layer.load(cookie)
    session["big"] = "x" * 100
    with pytest.raises(SessionTooLarge, match="limit is 100"):
        await session.save()
    assert await layer.read(cookie) == {"a": 1}


@pytest.mark.promise(11)
async def test_more_requests_than_connections_wait_for_the_pool(layer: SessionLayer) -> None:
    cookies = await asyncio.gather(*(layer.begin(number=number) for number in range(60)))
    responses = await asyncio.gather(*(layer.read(cookie) for cookie in cookies))
    assert responses == [{"number": number} for number in range(60)]


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ("file", 1_000_000),
        ("memcached", 1_000_000),
        ("mongodb", 16_000_000),
        ("database-mariadb", 8_000_000),
    ],
    indirect=["place"],
)
async def test_the_largest_allowed_session(store: Store, clock: ManualClock, size: int) -> None:
    for each in (store, EncryptedStore(store, KeyRing(new_secret()))):
        record = make_record(clock.now, data=b'"' * size, user_id="u" * 255)
        version = await each.create(record)
        assert version is not None
        assert await each.save(record, expected=version) is not None
        loaded = await each.load(record.key)
        assert loaded is not None
        assert loaded.data == record.data
        assert await each.delete(record.key)  # frees memory for the next tests


# -- many ---------------------------------------------------------------------------------------------------


MANY = 10_000
"""Sessions of a listing: ten pages of a SQL database. A page takes twice the memory of its summaries."""


@pytest.fixture(params=[name for name in LISTABLE if name != "memcached"])
def narrow_place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    """A store with one connection: each connection of a driver keeps its last response in memory."""
    if request.param not in SQL:
        return STORES[request.param](request, clock)
    url = DATABASES[SQL[request.param]](request)
    return lambda: open_store(url, clock=clock, timeout=20, pool_size=1)


@pytest.fixture
async def narrow(narrow_place: Open) -> AsyncIterator[Store]:
    store = narrow_place()
    yield store
    await store.close()


@pytest.mark.soak
@pytest.mark.promise(12)
async def test_listing_and_purging_many_sessions_take_bounded_memory(
    narrow: Store, clock: ManualClock
) -> None:
    store = narrow
    for _ in range(MANY // 200):
        created = await asyncio.gather(*(store.create(make_record(clock.now)) for _ in range(200)))
        assert None not in created
    assert isinstance(store, Listable)
    assert len(await listed(store)) == MANY  # allocates what the first listing needs
    gc.freeze()  # later collections consider only new objects
    tracemalloc.start()
    count = 0
    async for _ in store.scan():
        count += 1
        if count % 200 == 0:
            gc.collect()  # garbage of a driver does not count
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    everything = [summary async for summary in store.scan()]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.unfreeze()
    assert count == len(everything) == MANY
    assert peak < held / 2
    if isinstance(store, Purgeable):
        live = make_record(clock.now, expires=clock.now + 10_000_000)
        await store.create(live)
        clock.advance(3_600)
        assert await store.purge(clock.now) == MANY
        assert await listed(store) == [live.key]
