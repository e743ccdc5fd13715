"""The Redis store beyond the contract, on Redis and Valkey."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial

import httpx2 as httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cartapp.session import SessionMiddleware, UnreadableRecord, open_store
from cartapp.session.record import Record, now, pack
from cartapp.session.stores.base import Store
from cartapp.session.stores.redis.store import RedisStore
from tests.conftest import ManualClock
from tests.support.polling import STORE_TIMEOUT, poll_until, wait_for
from tests.support.servers.redis import RedisServer
from tests.support.store_workers import ended, increment_many, write_until_gone
from tests.support.stores import HOUR, REDIS, make_record, with_prefix
from tests.support.workers import started

pytestmark = pytest.mark.anyio

PREFIX = "cart:session:"


@pytest.fixture(params=["redis_server", "valkey_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """A server without keys, counters and cached scripts."""
    server: RedisServer = request.getfixturevalue(request.param)
    for command in ("FLUSHALL", "SCRIPT FLUSH", "CONFIG RESETSTAT"):
        server.execute(command)
    return server


@pytest.fixture
async def store(server: RedisServer, clock: ManualClock) -> AsyncIterator[RedisStore]:
    store = open_store(server.url, clock=clock, timeout=STORE_TIMEOUT)
    assert isinstance(store, RedisStore)
    yield store
    await store.close()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now)


@pytest.fixture
async def stored(store: RedisStore, record: Record) -> Record:
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


def place(record: Record) -> str:
    return PREFIX + record.key


def keys(server: RedisServer) -> list[str]:
    return sorted(key.decode() for key in server.execute("KEYS", "*"))


async def scanned(store: RedisStore, user_id: str | None = None) -> list[str]:
    return sorted([found.key async for found in store.scan(user_id=user_id)])


# -- keys on the server -------------------------------------------------------------------------------------


@pytest.mark.promise(8)
async def test_every_key_has_a_ttl(
    server: RedisServer, store: RedisStore, stored: Record, clock: ManualClock
) -> None:
    saved = await store.save(replace(stored, expires=stored.expires + HOUR), expected=stored.version)
    assert saved is not None
    assert 2 * HOUR - 60_000 < server.execute("PTTL", place(stored)) <= 2 * HOUR
    await store.touch(stored.key, expected=saved, last_used=clock.now, expires=clock.now + HOUR)
    assert HOUR - 60_000 < server.execute("PTTL", place(stored)) <= HOUR
    await store.create(make_record(clock.now, user_id="7"))
    await store.create(make_record(clock.now, expires=clock.now - 1))  # expired already
    names = keys(server)
    assert len(names) >= 3
    assert all(server.execute("PTTL", name) != -1 for name in names)


async def test_server_with_a_different_clock_keeps_records_as_long(
    server: RedisServer, record: Record
) -> None:
    behind = ManualClock(now() - 30 * HOUR)
    store = open_store(server.url, clock=behind)
    early = replace(record, expires=behind.now + HOUR)
    await store.create(early)
    assert HOUR - 60_000 < server.execute("PTTL", place(early)) <= HOUR
    assert await store.load(early.key) is not None
    await store.close()


async def test_the_server_removes_expired_records(
    server: RedisServer, store: RedisStore, record: Record, clock: ManualClock
) -> None:
    await store.create(replace(record, expires=clock.now + 50))
    await asyncio.to_thread(wait_for, lambda: not server.execute("EXISTS", place(record)))


async def test_a_record_is_stored_as_packed(server: RedisServer, stored: Record) -> None:
    assert server.execute("STRLEN", place(stored)) == len(pack(stored, int(stored.version)))


@pytest.mark.promise(10)
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\x80\x04]\x94.", b"[" * 10_000])
async def test_garbage_is_unreadable_and_may_only_be_deleted(
    server: RedisServer, store: RedisStore, record: Record, garbage: bytes
) -> None:
    server.execute("SET", place(record), garbage, "PX", HOUR)
    await left_alone(server, store, record)


@pytest.mark.promise(10)
async def test_another_type_is_unreadable_and_may_only_be_deleted(
    server: RedisServer, store: RedisStore, record: Record
) -> None:
    server.execute("RPUSH", place(record), "a", "list")
    await left_alone(server, store, record)


async def left_alone(server: RedisServer, store: RedisStore, record: Record) -> None:
    before = server.execute("TYPE", place(record)), server.execute("PTTL", place(record)) > 0
    with pytest.raises(UnreadableRecord):
        await store.load(record.key)
    assert await store.create(record) is None
    assert await store.save(record, expected=1) is None
    assert not await store.touch(record.key, expected=1, last_used=1, expires=record.expires)
    assert not await store.delete(record.key, expected=record)
    assert (server.execute("TYPE", place(record)), server.execute("PTTL", place(record)) > 0) == before
    assert await store.delete(record.key)
    assert keys(server) == []


@pytest.mark.promise(10)
async def test_a_record_cut_short_is_unreadable(
    server: RedisServer, store: RedisStore, stored: Record
) -> None:
    server.execute("SET", place(stored), pack(stored, int(stored.version))[:-1], "KEEPTTL")
    with pytest.raises(UnreadableRecord):
        await store.load(stored.key)
    server.execute("SET", place(stored), pack(stored, int(stored.version))[:15], "KEEPTTL")
    assert await store.save(stored, expected=stored.version) is None


# -- versions -----------------------------------------------------------------------------------------------


async def test_writer_with_a_lost_record_replaces_no_other(
    server: RedisServer, store: RedisStore, stored: Record
) -> None:
    """As after a failover to a replica without the last write."""
    old = pack(stored, int(stored.version))
    lost = await store.save(replace(stored, data=b"lost"), expected=stored.version)
    assert lost is not None
    server.execute("SET", place(stored), old, "KEEPTTL")
    other = await store.save(replace(stored, data=b"other"), expected=stored.version)
    assert await store.save(replace(stored, data=b"late"), expected=lost) is None
    assert await store.load(stored.key) == replace(stored, data=b"other", version=other or 0)


@pytest.mark.promise(1)
@pytest.mark.parametrize("fixture", REDIS.values())
def test_increments_of_several_processes_are_all_kept(request: pytest.FixtureRequest, fixture: str) -> None:
    url = with_prefix(request.getfixturevalue(fixture).url)
    record = make_record(now(), data=b"0")
    asyncio.run(created(url, record))
    workers = [started(increment_many, url, record.key, 50) for _ in range(4)]
    assert asyncio.run(ended(workers)) == [0] * 4
    loaded = asyncio.run(found(url, record.key))
    assert loaded is not None
    assert loaded.data == b"200"


@pytest.mark.promise(2)
@pytest.mark.parametrize("fixture", REDIS.values())
def test_deleted_record_stays_deleted_under_writers(request: pytest.FixtureRequest, fixture: str) -> None:
    url = with_prefix(request.getfixturevalue(fixture).url)
    records = [make_record(now()) for _ in range(30)]
    asyncio.run(created(url, *records))
    names = [record.key for record in records]
    workers = [started(write_until_gone, url, names) for _ in range(2)]
    asyncio.run(deleted(url, names))
    assert asyncio.run(ended(workers)) == [0] * 2
    assert all(asyncio.run(found(url, name)) is None for name in names[:5])


async def created(url: str, *records: Record) -> None:
    store = open_store(url)
    for record in records:
        assert await store.create(record) is not None
    await store.close()


async def found(url: str, key: str) -> Record | None:
    store = open_store(url)
    try:
        return await store.load(key)
    finally:
        await store.close()


async def deleted(url: str, names: list[str]) -> None:
    store = open_store(url)
    for name in names:
        await poll_until(partial(is_touched, store, name))  # the writers are running
        assert await store.delete(name)
    await store.close()


async def is_touched(store: Store, name: str) -> bool:
    record = await store.load(name)
    return record is not None and record.last_used > record.created


# -- scripts ------------------------------------------------------------------------------------------------


async def test_scripts_forgotten_by_the_server_are_loaded_again(
    server: RedisServer, store: RedisStore, stored: Record, clock: ManualClock
) -> None:
    version = stored.version
    for number in range(3):
        server.execute("SCRIPT", "FLUSH")
        changed = replace(stored, data=b"%d" % number)
        saves = [store.save(changed, expected=version) for _ in range(5)]
        versions = [saved for saved in await asyncio.gather(*saves) if saved is not None]
        assert len(versions) == 1
        version = versions[0]
    server.execute("SCRIPT", "FLUSH")
    assert await store.touch(stored.key, expected=version, last_used=clock.now, expires=stored.expires)
    server.execute("SCRIPT", "FLUSH")
    assert await store.delete(stored.key, expected=replace(stored, version=version))


async def test_scripts_are_sent_once(server: RedisServer, store: RedisStore, stored: Record) -> None:
    version = stored.version
    for _ in range(5):
        version = await store.save(stored, expected=version) or 0
    scripts = {name: count for name, count in server.commands().items() if name.startswith("eval")}
    assert scripts == {"evalsha": 5, "eval": 1}


# -- economy ------------------------------------------------------------------------------------------------


async def nothing(_: Request) -> Response:
    return Response()


async def read(request: Request) -> Response:
    session = await request.session.load()  # type: ignore[attr-defined]
    return JSONResponse(session.get("visits"))


async def change(request: Request) -> Response:
    session = await request.session.load()  # type: ignore[attr-defined]
    session.modify("visits", lambda visits: visits + 1, 0)
    await session.save()
    return JSONResponse(session["visits"])


async def log_in(request: Request) -> Response:
    session = await request.session.load()  # type: ignore[attr-defined]
    session.log_in("7")
    return Response()


async def log_out(request: Request) -> Response:
    session = await request.session.load()  # type: ignore[attr-defined]
    session.destroy()
    return Response()


ROUTES = [Route(f"/{handler.__name__}", handler) for handler in (nothing, read, change, log_in, log_out)]


@pytest.fixture
async def browser(store: RedisStore, clock: ManualClock) -> AsyncIterator[httpx.AsyncClient]:
    layer = Middleware(SessionMiddleware, store=store, load="explicit", clock=clock)
    app = Starlette(routes=ROUTES, middleware=[layer])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as client:
        yield client


@pytest.mark.promise(7)
async def test_commands_of_each_request(
    server: RedisServer, store: RedisStore, browser: httpx.AsyncClient, clock: ManualClock
) -> None:
    async def cost(path: str) -> dict[str, int]:
        server.execute("CONFIG", "RESETSTAT")
        assert (await browser.get(path)).status_code == 200
        return server.commands()

    assert await cost("/nothing") == {}
    assert await cost("/read") == {}
    assert "cart_session" not in str(browser.cookies)
    assert await cost("/change") == {"set": 1}
    assert await cost("/change") == {
        "get": 1,
        "evalsha": 1,
        "eval": 1,
        "getrange": 1,
        "set": 1,
    }  # the first one
    assert await cost("/nothing") == {}
    assert await cost("/read") == {"get": 1}
    # Commands after EVALSHA are the script's own.
    assert await cost("/change") == {"get": 1, "evalsha": 1, "getrange": 1, "set": 1}
    clock.advance(400)
    await cost("/read")
    clock.advance(400)
    assert await cost("/read") == {"get": 1, "evalsha": 1, "getrange": 1, "setrange": 1, "pexpire": 1}
    assert await cost("/read") == {"get": 1}
    await cost("/log_in")
    cost_of_log_in = await cost("/log_in")
    # One script each for the index, the tombstone, and then the lifetime of the new record.
    assert cost_of_log_in.pop("pexpire") <= 2  # the index may live long enough
    index = {"zadd": 1, "pttl": 1, "zrangebyscore": 1}
    record = {"get": 1, "set": 2, "evalsha": 3, "getrange": 2, "setrange": 1}
    assert cost_of_log_in == {**index, **record}
    cost_of_log_out = await cost("/log_out")
    assert cost_of_log_out.pop("eval") == 1  # the first one
    assert cost_of_log_out == {"get": 1, "evalsha": 1, "getrange": 1, "del": 1, "zrem": 1}
    await cost("/change")
    assert await cost("/log_out") == {"get": 1, "evalsha": 1, "getrange": 1, "del": 1}


@pytest.mark.promise(11)
async def test_forty_requests_at_once_share_ten_connections(
    server: RedisServer, store: RedisStore, stored: Record
) -> None:
    server.execute("CONFIG", "RESETSTAT")
    for _ in range(20):
        loaded = await asyncio.gather(*(store.load(stored.key) for _ in range(40)))
        assert loaded == [stored] * 40
    assert server.commands()["get"] == 800
    assert len(clients(server)) <= 10


def clients(server: RedisServer) -> list[str]:
    """Return the server's connections, except the one of this query."""
    listing: list[str] = server.execute("CLIENT", "LIST").splitlines()
    return [line for line in listing if "cmd=client" not in line]


async def test_connections_are_opened_on_demand_and_closed_at_the_end(
    server: RedisServer, record: Record
) -> None:
    before = len(clients(server))
    store = open_store(server.url)
    assert len(clients(server)) == before
    # More than ten connections with full batches.
    await asyncio.gather(*(store.load(record.key) for _ in range(2000)))
    assert len(clients(server)) == before + 10
    await store.close()
    await asyncio.to_thread(wait_for, lambda: len(clients(server)) == before)


@pytest.mark.promise(11)
async def test_a_small_pool_makes_requests_wait_and_not_fail(server: RedisServer, stored: Record) -> None:
    small = open_store(server.url, pool_size=1)
    loaded = await asyncio.gather(*(small.load(stored.key) for _ in range(500)))
    assert all(loaded)
    assert await asyncio.gather(*(small.save(stored, expected=0) for _ in range(500))) == [None] * 500
    await small.close()


# -- listing ------------------------------------------------------------------------------------------------


async def test_only_ones_own_keys_are_listed(server: RedisServer, clock: ManualClock) -> None:
    prefixes = ["a", "ab", "a*", "[ab]", "a?", "a\\", "ü:"]
    urls = [httpx.URL(server.url, params={"prefix": prefix}) for prefix in prefixes]
    stores = [open_store(str(url), clock=clock) for url in urls]
    for store in stores:
        await store.create(make_record(clock.now, user_id="7"))
    for store in stores:
        assert isinstance(store, RedisStore)
        assert len(await scanned(store)) == 1
        assert len(await scanned(store, "7")) == 1
        await store.close()


async def test_a_session_without_its_user_is_not_listed_for_the_user(
    store: RedisStore, clock: ManualClock
) -> None:
    record = make_record(clock.now, user_id="7")
    version = await store.create(record)
    assert version is not None
    await store.save(replace(record, user_id=None), expected=version)
    assert await scanned(store, "7") == []
    assert await scanned(store) == [record.key]


async def test_unreadable_records_are_logged_and_not_listed(
    server: RedisServer,
    store: RedisStore,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record, broken, other = (make_record(clock.now, user_id="7") for _ in range(3))
    for each in (record, broken, other):
        await store.create(each)
    server.execute("SET", place(broken), "garbage", "KEEPTTL")
    server.execute("DEL", place(other))
    server.execute("RPUSH", place(other), "a", "list")
    server.execute("SET", PREFIX + "x" * 22, "not the form of a key")
    with caplog.at_level(logging.WARNING):
        assert await scanned(store) == [record.key]
    assert sorted(line.partition(" is ")[0] for line in caplog.messages) == sorted(
        f"Session {each.key}" for each in (broken, other)
    )
    assert await scanned(store, "7") == [record.key]
