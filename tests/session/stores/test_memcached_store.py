"""The memcached store beyond the contract."""

import asyncio
import logging
import pickle
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from cartapp.session.errors import InvalidStoreURL, StoreNotSupported, StoreUnavailable, UnreadableRecord
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, key_from_id, new_id, now
from cartapp.session.stores.base import PREFIX
from cartapp.session.stores.memcached.store import MemcachedStore
from cartapp.session.stores.memcached.url import Address, parse
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.urls import split_url
from tests.conftest import ManualClock
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.memcached import MemcachedServer, running
from tests.support.session_layer import SessionLayer
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio

DAY = 24 * HOUR


def opened(server: MemcachedServer, clock: ManualClock | None = None, prefix: str = PREFIX) -> MemcachedStore:
    address = Address((("127.0.0.1", server.port),), prefix)
    return MemcachedStore(address, clock=clock or now, timeout=STORE_TIMEOUT)


@pytest.fixture
def server(memcached_server: MemcachedServer) -> MemcachedServer:
    memcached_server.execute(b"flush_all")
    return memcached_server


@pytest.fixture
async def store(server: MemcachedServer, clock: ManualClock) -> AsyncIterator[MemcachedStore]:
    store = opened(server, clock)
    yield store
    await store.close()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now)


def place(record: Record) -> bytes:
    return b"cart:session:" + record.key.encode()


# -- the URL ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("memcached://", [("localhost", 11211)]),
        ("memcached://cache", [("cache", 11211)]),
        ("memcached://one:1,two,[::1]:3/", [("one", 1), ("two", 11211), ("::1", 3)]),
    ],
)
def test_servers_in_the_url(url: str, hosts: list[tuple[str, int]]) -> None:
    assert list(parse(split_url(url)).hosts) == hosts


def test_a_prefix_in_the_url() -> None:
    assert parse(split_url("memcached://h?prefix=shop%2F")).prefix == "shop/"


@pytest.mark.parametrize(
    "url",
    [
        "memcached://h:port",
        "memcached://h:70000",
        "memcached://h:0",
        "memcached://a,,b",
        "memcached://a,",
        "memcached://h,h",
        "memcached://user:secret@h",
        "memcached://h/1",
        "memcached://h#1",
        "memcached://h?timeout=1",
        "memcached://h?prefix=",
        "memcached://h?prefix=a%20b",
        f"memcached://h?prefix={'x' * 229}",
    ],
)
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


# -- economy ------------------------------------------------------------------------------------------------


@pytest.mark.promise(7, backend="memcached")
async def test_store_operations_of_each_kind_of_request(
    server: MemcachedServer, store: MemcachedStore, clock: ManualClock
) -> None:
    layer = SessionLayer(store, clock, SessionPolicy(ttl=600))
    before = server.operations()

    def operations() -> int:
        nonlocal before
        before, last = server.operations(), before
        return before - last

    await layer.load(None)
    assert operations() == 0
    cookie = await layer.begin(n=1)
    assert operations() == 1
    await layer.read(cookie)
    assert operations() == 1
    session, _ = await layer.load(cookie)
    session["n"] = 2
    await session.save()
    assert operations() == 2
    clock.advance(61)
    session, _ = await layer.load(cookie)
    await session.save()
    assert operations() == 2  # keep-alive
    session, _ = await layer.load(cookie)
    session.destroy()
    await session.save()
    assert operations() == 2
    assert await layer.read(cookie) == {}


@pytest.mark.promise(11, backend="memcached")
async def test_requests_at_once_share_few_connections(server: MemcachedServer, record: Record) -> None:
    before = server.stats()["curr_connections"]
    store = open_store(server.url, pool_size=3, clock=lambda: record.created)
    await store.create(record)
    answers = await asyncio.gather(*(store.load(record.key) for _ in range(500)))
    assert all(answers)
    assert server.stats()["curr_connections"] <= before + 3
    await store.close()


# -- lifetimes ----------------------------------------------------------------------------------------------


def seconds_left(server: MemcachedServer, record: Record) -> int:
    """Return the item's lifetime as reported by the server; -1 means no expiry."""
    (line,) = server.execute(b"mg %b t" % place(record))
    return int(line.removeprefix(b"HD t"))


@pytest.mark.parametrize("lifetime", [HOUR, 30 * DAY - 2000, 30 * DAY, 40 * DAY, 300 * DAY])
async def test_items_live_a_little_longer_than_their_records(server: MemcachedServer, lifetime: int) -> None:
    store = opened(server)
    record = make_record(now(), expires=now() + lifetime)
    await store.create(record)
    assert -1 <= seconds_left(server, record) - lifetime // 1000 <= 4  # its clock counts seconds
    assert await store.load(record.key) is not None
    await store.close()


async def test_a_lifetime_beyond_the_range_of_the_server(server: MemcachedServer) -> None:
    store = opened(server)
    record = make_record(now(), expires=now() + 100 * 365 * DAY)
    await store.create(record)
    assert seconds_left(server, record) > 300 * DAY // 1000
    await store.close()


async def test_an_expired_record_is_not_kept_forever(
    server: MemcachedServer, store: MemcachedStore, clock: ManualClock
) -> None:
    record = make_record(clock.now, expires=clock.now - HOUR)
    await store.create(record)
    assert server.execute(b"mg %b t" % place(record))[0] in (b"EN", b"HD t0", b"HD t1")


async def test_touch_and_tombstone_set_the_lifetime(
    server: MemcachedServer, store: MemcachedStore, record: Record, clock: ManualClock
) -> None:
    version = await store.create(record)
    assert version is not None
    assert await store.touch(record.key, expected=version, last_used=clock.now, expires=clock.now + 2 * HOUR)
    assert 7198 <= seconds_left(server, record) <= 7202
    marker = replace(record, data=b"", expires=clock.now + 60_000)
    assert await store.save(marker, expected=version) is not None
    assert 58 <= seconds_left(server, record) <= 62


async def test_an_expired_record_still_on_the_server_is_replaced(
    store: MemcachedStore, record: Record, clock: ManualClock
) -> None:
    await store.create(record)
    clock.now = record.expires
    again = make_record(clock.now, key=record.key, data=b"again")
    version = await store.create(again)
    assert version is not None
    assert await store.load(record.key) == replace(again, version=version)


# -- comparing ----------------------------------------------------------------------------------------------


async def test_a_touch_between_load_and_save_is_no_conflict(
    store: MemcachedStore, record: Record, clock: ManualClock
) -> None:
    await store.create(record)
    seen = await store.load(record.key)
    other = await store.load(record.key)
    assert seen is not None
    assert other is not None
    times = {"last_used": clock.now, "expires": record.expires + 1}
    assert await store.touch(record.key, expected=other.version, **times)
    assert not await store.touch(record.key, expected=seen.version, **times)  # done by the other writer
    assert await store.save(replace(seen, data=b"new"), expected=seen.version) is not None


async def test_a_delete_keeps_a_record_changed_since_its_load(
    store: MemcachedStore, record: Record, clock: ManualClock
) -> None:
    await store.create(record)
    seen = await store.load(record.key)
    assert seen is not None
    assert await store.touch(record.key, expected=seen.version, last_used=clock.now + 1, expires=seen.expires)
    assert not await store.delete(record.key, expected=seen)
    touched = await store.load(record.key)
    assert touched is not None
    assert await store.save(touched, expected=touched.version) is not None
    assert not await store.delete(record.key, expected=touched)
    saved = await store.load(record.key)
    assert saved is not None
    assert await store.delete(record.key, expected=saved)


async def test_stale_reader_cannot_write_a_recreated_record(store: MemcachedStore, record: Record) -> None:
    first = await store.create(record)
    assert first is not None
    await store.delete(record.key)
    await store.create(record)
    assert await store.save(record, expected=first) is None
    assert not await store.delete(record.key, expected=replace(record, version=first))


async def test_a_server_without_cas_is_rejected(record: Record) -> None:
    with running("--disable-cas") as server:
        store = opened(server)
        await store.create(make_record(now(), key=record.key))
        with pytest.raises(StoreUnavailable, match="without CAS"):
            await store.load(record.key)
        await store.close()


# -- invalid items ------------------------------------------------------------------------------------------


@pytest.mark.promise(10, backend="memcached")
@pytest.mark.parametrize(
    "garbage",
    [b"", b"garbage", pickle.dumps({"cart": []}), b"[" * 10_000, b"\r\nEND\r\n", b"x" * 1_000_000],
    ids=lambda garbage: repr(garbage[:10]),
)
async def test_an_invalid_record_is_unreadable(
    server: MemcachedServer, store: MemcachedStore, record: Record, garbage: bytes
) -> None:
    server.execute(b"set %b 0 100 %d\r\n%b" % (place(record), len(garbage), garbage))
    with pytest.raises(UnreadableRecord):
        await store.load(record.key)
    assert await store.create(record) is None
    assert await store.save(record, expected=1) is None
    assert not await store.touch(record.key, expected=1, last_used=1, expires=record.expires)
    assert not await store.delete(record.key, expected=record)
    assert await store.delete(record.key)
    assert await store.create(record) is not None


async def test_listing_skips_invalid_records(
    server: MemcachedServer, store: MemcachedStore, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    broken = key_from_id(new_id())
    server.execute(
        b"set cart:session:%b 0 100 7\r\ngarbage" % broken.encode(),
        b"set cart:session:short 0 100 7\r\ngarbage",
        b"set %b 0 100 7\r\ngarbage" % broken.encode(),
        b"set other:app 0 0 7\r\ngarbage",
    )
    await store.create(record)
    with caplog.at_level(logging.WARNING, "cartapp.session"):
        assert [found.key async for found in store.scan()] == [record.key]
    assert [logged.args and logged.args[0] for logged in caplog.records] == [broken]  # type: ignore[index]


# -- listing ------------------------------------------------------------------------------------------------


async def test_listings_at_once_wait_for_each_other(store: MemcachedStore, clock: ManualClock) -> None:
    for _ in range(300):
        await store.create(make_record(clock.now))

    async def listed() -> int:
        return len([found async for found in store.scan()])

    assert await asyncio.gather(*(listed() for _ in range(4))) == [300] * 4


async def test_a_listing_larger_than_the_socket_buffers(server: MemcachedServer) -> None:
    store = opened(server, prefix="x" * 228)  # for long lines
    for _ in range(50):
        await asyncio.gather(*(store.create(make_record(now())) for _ in range(500)))
    assert len([found async for found in store.scan()]) == 25_000
    await store.close()


async def test_a_cancelled_listing_closes_its_connection(
    server: MemcachedServer, store: MemcachedStore, clock: ManualClock
) -> None:
    for _ in range(300):
        await store.create(make_record(clock.now))
    before = server.stats()["curr_connections"]
    scan = store.scan()
    await anext(scan)
    await scan.aclose()  # type: ignore[attr-defined]
    assert len([found async for found in store.scan()]) == 300
    assert server.stats()["curr_connections"] <= before + 1


@pytest.mark.parametrize("option", ["--disable-dumping", "--extended=no_lru_crawler"])
async def test_a_server_without_listing_raises(option: str) -> None:
    with running(option) as server:
        store = opened(server)
        await store.create(make_record(now()))
        with pytest.raises(StoreNotSupported, match="does not list its keys"):
            await anext(store.scan())
        await store.close()
