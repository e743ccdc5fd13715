"""Faults of Redis and Valkey: each result is correct or an error."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cartapp.session import SessionMiddleware
from cartapp.session.errors import StoreTimeout, StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, key_from_id, new_id, now
from cartapp.session.stores.base import Store
from cartapp.session.stores.redis.store import RedisStore
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.support.polling import wait_for, wait_until_available
from tests.support.server_faults import (
    cancel_during_responses,
    create_record,
    cut_connections,
    freeze,
    http_server,
    kill_repeatedly,
    stop_and_start,
)
from tests.support.servers.process import free_port
from tests.support.servers.proxy import Proxy
from tests.support.servers.redis import AT_ONCE, RedisServer, redis_binary, running
from tests.support.servers.valkey import valkey_binary
from tests.support.session_layer import SessionLayer
from tests.support.session_load import session_load
from tests.support.stores import make_record

pytestmark = [pytest.mark.anyio, pytest.mark.promise(6, backend="redis")]

TIMEOUT = 1.5
PREFIX = "cart:session:"
ON_DISK = ("appendonly yes", "appendfsync always", AT_ONCE)

BINARIES = {"redis": redis_binary, "valkey": valkey_binary}


@pytest.fixture(scope="module", params=BINARIES)
def binary(request: pytest.FixtureRequest) -> Path:
    return BINARIES[request.param]()


@pytest.fixture(scope="module")
def server(binary: Path) -> Iterator[RedisServer]:
    """A server that keeps every confirmed write on disk."""
    with running(binary, *ON_DISK) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[Store]:
    store = open_store(server.url, timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
def layer(store: Store) -> SessionLayer:
    return SessionLayer(store, now, SessionPolicy(timeout=TIMEOUT))


@pytest.fixture
async def proxy(server: RedisServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def behind(proxy: Proxy) -> AsyncIterator[Store]:
    """The store behind the proxy."""
    store = open_store(f"redis://127.0.0.1:{proxy.port}", timeout=TIMEOUT)
    await store.ping()
    yield store
    await store.close()


@pytest.fixture
def record() -> Record:
    return make_record(now(), data=b"0")


@contextmanager
def configured(server: RedisServer, **settings: str) -> Iterator[None]:
    """Change settings of the server during the block."""
    before = {}
    for name, value in settings.items():
        before[name] = server.execute("CONFIG", "GET", name)[1]
        server.execute("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.execute("CONFIG", "SET", name, value)


# -- the server ---------------------------------------------------------------------------------------------


async def test_stopped_and_started_under_load(server: RedisServer, layer: SessionLayer) -> None:
    await stop_and_start(server.server, layer, keeps=True)


async def test_killed_again_and_again_under_load(server: RedisServer, layer: SessionLayer) -> None:
    await kill_repeatedly(server.server, layer, keeps=True)


async def test_frozen_under_load(server: RedisServer, layer: SessionLayer) -> None:
    await freeze(server.server, layer)


async def test_twenty_requests_to_a_frozen_server_wait_one_timeout(server: RedisServer, store: Store) -> None:
    seen = await create_record(store, make_record(now()))
    guarded = CircuitBreakerStore(store)
    server.server.pause()
    first = await asyncio.gather(*(guarded.load(seen.key) for _ in range(20)), return_exceptions=True)
    assert {str(error) for error in first} == {
        f"The {store.name} store at 127.0.0.1:{server.port} did not respond within {TIMEOUT} seconds."
    }
    with pytest.raises(StoreUnavailable, match="waiting for a probe"):
        await guarded.load(seen.key)
    server.server.resume()
    await wait_until_available(guarded)
    assert await guarded.load(seen.key) == seen


async def test_a_frozen_server_costs_one_timeout(server: RedisServer, store: Store) -> None:
    await store.ping()
    server.server.pause()
    try:
        with pytest.raises(StoreUnavailable, match=f"did not respond within {TIMEOUT} seconds"):
            await store.load(key_from_id(new_id()))
    finally:
        server.server.resume()
    await wait_until_available(store)


async def test_no_server_is_running(record: Record) -> None:
    port = free_port()
    store = open_store(f"redis://:secret@127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable) as error:
        await store.load(record.key)
    assert str(error.value) == f"The redis store at 127.0.0.1:{port} cannot be used: connection refused."
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.ping()
    await store.close()


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_no_server_of_several_is_running(record: Record, kind: str) -> None:
    addresses = ",".join(f"127.0.0.1:{free_port()}" for _ in range(3))
    store = open_store(f"redis+{kind}://:secret@{addresses}/{'shop' if kind == 'sentinel' else ''}")
    why = {"sentinel": "no sentinel that answers knows the master", "cluster": "connection refused"}[kind]
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=why) as error:
            await store.load(record.key)
        assert "secret" not in str(error.value)
    assert isinstance(store, RedisStore)
    with pytest.raises(StoreUnavailable, match=why):
        assert [found async for found in store.scan()]
    await store.close()


@pytest.mark.parametrize("path", ["redis+sentinel://{}/shop", "redis+cluster://{}"])
async def test_a_timeout_of_all_sentinels_or_nodes_is_a_timeout(record: Record, path: str) -> None:
    """It opens the circuit breaker."""
    release = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = open_store(path.format(f"127.0.0.1:{port}"), timeout=TIMEOUT)
        with pytest.raises(StoreTimeout):
            await store.load(record.key)
        await store.close()
        release.set()


async def test_no_such_host(record: Record) -> None:
    store = open_store("redis://no-such-host.invalid", timeout=20)
    with pytest.raises(StoreUnavailable, match=r"cannot be used: .+ (name|resolution|service)"):
        await store.load(record.key)
    await store.close()


async def test_another_protocol_on_the_port(record: Record) -> None:
    async with http_server() as port:
        store = open_store(f"redis://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="it does not speak the Redis protocol"):
            await store.load(record.key)
        await store.close()


# -- errors of the server -----------------------------------------------------------------------------------


async def test_a_read_only_replica(binary: Path, server: RedisServer, record: Record) -> None:
    with running(binary, f"replicaof 127.0.0.1 {server.port}") as replica:
        wait_for(lambda: replica.has("master_link_status:up"))
        store = open_store(replica.url)
        await refusing(store, record, "it is a read-only replica")
        await store.close()


async def test_a_replica_without_its_master(binary: Path, record: Record) -> None:
    with running(binary, f"replicaof 127.0.0.1 {free_port()}", "replica-serve-stale-data no") as replica:
        store = open_store(replica.url)
        with pytest.raises(StoreUnavailable, match="it is a replica that has lost its master"):
            await store.load(record.key)
        await store.close()


async def refusing(store: Store, record: Record, why: str) -> None:
    """Writes fail with an error, and reads continue."""
    seen = replace(record, version=1)
    with pytest.raises(StoreUnavailable, match=why):
        await store.create(record)
    assert await store.load(record.key) is None
    assert await store.save(seen, expected=1) is None


async def test_out_of_memory(server: RedisServer, store: Store, record: Record) -> None:
    first = await create_record(store, record)
    second = await create_record(store, make_record(now()))
    with configured(server, maxmemory="1", **{"maxmemory-policy": "noeviction"}):
        await refusing(store, make_record(now()), "it is out of memory")
        with pytest.raises(StoreUnavailable, match="it is out of memory"):
            await store.save(replace(first, data=b"1"), expected=first.version)
        with pytest.raises(StoreUnavailable, match="it is out of memory"):
            await store.touch(first.key, expected=first.version, last_used=1, expires=first.expires)
        assert await store.load(first.key) == first
        assert await store.delete(first.key, expected=first)  # a log-out still works
        assert await store.delete(second.key)
    assert await store.create(record) is not None


async def test_a_disk_without_write_access(binary: Path, record: Record) -> None:
    with running(binary, "save 3600 1") as server:
        (server.folder / "dump.rdb").mkdir()  # where the file should be
        server.execute("SET", "a", "b")
        server.execute("BGSAVE")
        wait_for(lambda: server.has("rdb_last_bgsave_status:err"))
        store = open_store(server.url)
        await refusing(store, record, "it cannot save to its disk and so takes no writes")
        await store.close()
        (server.folder / "dump.rdb").rmdir()


async def test_a_server_while_loading(binary: Path, record: Record) -> None:
    slow = ("rdbcompression no", "key-load-delay 20000", "loading-process-events-interval-bytes 1024")
    with running(binary, *slow) as server:
        for number in range(30):
            server.execute("SET", f"key{number}", "x" * 1024)
        server.execute("SAVE")
        server.server.kill()
        starting = asyncio.create_task(asyncio.to_thread(server.server.start))
        store = open_store(server.url)
        why = ""
        async with asyncio.timeout(60):
            while not why.endswith("it is still loading its data."):
                with pytest.raises(StoreUnavailable) as error:
                    await store.load(record.key)
                why = str(error.value)
                assert why.endswith(("connection refused.", "it is still loading its data."))
        await starting
        assert await store.create(record) is not None
        await store.close()


async def test_the_client_limit_of_the_server(server: RedisServer, record: Record) -> None:
    with running(redis_binary(), "maxclients 5") as server:
        taken = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        store = open_store(server.url)
        with pytest.raises(
            StoreUnavailable, match=r"max number of clients reached|connection (closed|reset|lost)"
        ):
            await store.load(record.key)
        for _, writer in taken:
            writer.close()
            await writer.wait_closed()
        await wait_until_available(store)
        await store.close()


# -- the way there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 5, 9, 1000, 30_000, 65_590])
async def test_load_with_a_truncated_response_fails(behind: Store, proxy: Proxy, count: int) -> None:
    record = await create_record(behind, make_record(now(), data=b"x" * 65_536))
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable, match="connection closed by server"):
        await behind.load(record.key)
    proxy.heal()
    assert await behind.load(record.key) == record


async def test_save_with_a_truncated_response_fails_although_stored(
    behind: Store, proxy: Proxy, record: Record
) -> None:
    seen = await create_record(behind, record)
    seen = replace(seen, version=await behind.save(seen, expected=seen.version) or 0)
    proxy.answers_for(2)  # of :1 and the end of its line
    with pytest.raises(StoreUnavailable, match="connection closed by server"):
        await behind.save(replace(seen, data=b"1"), expected=seen.version)
    proxy.heal()
    assert await behind.save(replace(seen, data=b"2"), expected=seen.version) is None
    loaded = await behind.load(record.key)
    assert loaded is not None
    assert loaded.data == b"1"


async def test_responses_before_a_cut_of_a_batch_are_kept(behind: Store, proxy: Proxy) -> None:
    records = [await create_record(behind, make_record(now(), data=b"%d" % number)) for number in range(10)]
    one_answer = 2 * len(b"\r\n") + len(b"$57") + 57
    proxy.answers_for(3 * one_answer + 20)
    loads = (behind.load(record.key) for record in records)
    answers = await asyncio.gather(*loads, return_exceptions=True)
    assert answers[:3] == records[:3]
    assert {type(answer) for answer in answers[3:]} == {StoreUnavailable}
    proxy.heal()
    assert await asyncio.gather(*(behind.load(record.key) for record in records)) == records


async def test_one_rejected_command_affects_no_other(server: RedisServer, store: Store) -> None:
    records = [await create_record(store, make_record(now())) for _ in range(10)]
    server.execute("DEL", PREFIX + records[4].key)
    server.execute("RPUSH", PREFIX + records[4].key, "a", "list")
    answers = await asyncio.gather(*(store.load(record.key) for record in records), return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["Record"] * 4 + ["UnreadableRecord"] + [
        "Record"
    ] * 5
    assert answers[5:] == records[5:]
    await store.delete(records[4].key)


async def test_connections_cut_under_load(behind: Store, proxy: Proxy) -> None:
    layer = SessionLayer(behind, now, SessionPolicy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=20, every=20)


async def test_hanging_connections_under_load(behind: Store, proxy: Proxy) -> None:
    async with session_load(
        SessionLayer(behind, now, SessionPolicy(timeout=TIMEOUT)), keeps=True
    ) as visitors:
        await visitors.wait_for_increase(visitors.answered, 100)
        proxy.answers_for(500, hang=True)
        await visitors.wait_for_increase(visitors.refused, 20)
        proxy.heal()
        await visitors.wait_for_increase(visitors.answered, 100)


async def test_a_connection_closed_by_the_server_is_not_used(
    server: RedisServer, store: Store, record: Record
) -> None:
    seen = await create_record(store, record)
    for _ in range(5):
        server.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.to_thread(wait_for, lambda: server.has("connected_clients:1"))  # this query's own
        assert await store.load(record.key) == seen


async def test_a_late_response(behind: Store, proxy: Proxy, record: Record) -> None:
    seen = await create_record(behind, record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=TIMEOUT / 4)
    proxy.heal()
    assert await load == seen


async def test_connections_that_hang_forever_are_closed(behind: Store, proxy: Proxy, record: Record) -> None:
    seen = await create_record(behind, record)
    proxy.answers_for(0, hang=True)
    stuck = await asyncio.gather(*(behind.load(seen.key) for _ in range(100)), return_exceptions=True)
    assert {type(answer) for answer in stuck} == {StoreTimeout}
    proxy.forget()
    assert await behind.load(seen.key) == seen


async def test_cancellation_never_mixes_up_responses(behind: Store, proxy: Proxy) -> None:
    await cancel_during_responses(behind, proxy, (0, 5, 100, 150, 200, 1000))


async def test_a_cut_listing_raises(behind: Store, proxy: Proxy, server: RedisServer) -> None:
    server.execute("FLUSHALL")
    for _ in range(100):
        await behind.create(make_record(now(), user_id="7"))
    assert isinstance(behind, RedisStore)
    for user_id in (None, "7"):
        proxy.answers_for(5000)
        with pytest.raises(StoreUnavailable):
            assert [found async for found in behind.scan(user_id=user_id)]
        proxy.heal()
        assert len([found async for found in behind.scan(user_id=user_id)]) == 100


async def test_login_without_index_entry_fails(behind: Store, proxy: Proxy, server: RedisServer) -> None:
    """A log-in fails if its index entry cannot be written: ending all sessions of a user must find all."""
    await create_record(behind, make_record(now(), user_id="8"))
    proxy.answers_for(len(b"+OK\r\n"))
    with pytest.raises(StoreUnavailable):
        await behind.create(make_record(now(), user_id="8"))
    proxy.heal()


# -- requests -----------------------------------------------------------------------------------------------


async def show_user(request: Request) -> JSONResponse:
    return JSONResponse(request.session.get("user"))


async def begin(request: Request) -> JSONResponse:
    request.session["user"] = "ada"
    return JSONResponse("ada")


async def test_a_request_with_a_cookie_is_503_until_the_server_is_back(
    server: RedisServer, store: Store
) -> None:
    layer = Middleware(SessionMiddleware, store=store, timeout=TIMEOUT)
    transport = httpx.ASGITransport(
        Starlette(routes=[Route("/", show_user), Route("/begin", begin)], middleware=[layer])
    )
    async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as browser:
        await browser.get("/begin")
        cookies = dict(browser.cookies)
        await asyncio.to_thread(server.server.stop)
        for path in ("/", "/begin"):
            answer = await browser.get(path)
            assert answer.status_code == 503
            assert "Retry-After" in answer.headers
            assert "Set-Cookie" not in answer.headers
            assert server.address not in answer.text
        async with httpx.AsyncClient(transport=transport, base_url="https://testserver") as stranger:
            assert (await stranger.get("/")).json() is None
            assert (await stranger.get("/begin")).status_code == 503
            assert not stranger.cookies
        await asyncio.to_thread(server.server.start)
        assert (await browser.get("/")).json() == "ada"
        assert dict(browser.cookies) == cookies
