"""What may happen to Redis and Valkey, and what the session layer makes of it: a true answer or a refusal."""

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
from cartapp.session.errors import StoreUnavailable
from cartapp.session.guard import GuardedStore
from cartapp.session.policy import Policy
from cartapp.session.record import Record, key_of, new_id, now
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Store
from cartapp.session.stores.redis import RedisStore

from .faults import (
    cancel_amid_answers,
    created,
    cut_connections,
    freeze,
    kill_again_and_again,
    stop_and_start,
    web_server,
)
from .layer import Layer
from .servers.process import free_port
from .servers.proxy import Proxy
from .servers.redis import AT_ONCE, RedisServer, redis_binary, running
from .servers.valkey import valkey_binary
from .stores import make_record
from .traffic import traffic
from .waiting import until_there, wait_for

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
    """A server that loses nothing that it has confirmed."""
    with running(binary, *ON_DISK) as server:
        yield server


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[Store]:
    store = open_store(server.url, timeout=TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
def layer(store: Store) -> Layer:
    return Layer(store, now, Policy(timeout=TIMEOUT))


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
    """The server with other settings for a while."""
    before = {}
    for name, value in settings.items():
        before[name] = server.ask("CONFIG", "GET", name)[1]
        server.ask("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.ask("CONFIG", "SET", name, value)


# -- the server ---------------------------------------------------------------------------------------------


async def test_stopped_and_started_under_load(server: RedisServer, layer: Layer) -> None:
    await stop_and_start(server.server, layer, keeps=True)


async def test_killed_again_and_again_under_load(server: RedisServer, layer: Layer) -> None:
    await kill_again_and_again(server.server, layer, keeps=True)


async def test_frozen_under_load(server: RedisServer, layer: Layer) -> None:
    await freeze(server.server, layer)


async def test_twenty_requests_to_a_frozen_server_wait_once(server: RedisServer, store: Store) -> None:
    seen = await created(store, make_record(now()))
    guarded = GuardedStore(store, TIMEOUT)
    server.server.pause()
    first = await asyncio.gather(*(guarded.load(seen.key) for _ in range(20)), return_exceptions=True)
    assert {str(error) for error in first} == {
        f"The {store.name} store did not answer within {TIMEOUT} seconds."
    }
    with pytest.raises(StoreUnavailable, match="did not answer lately"):
        await guarded.load(seen.key)
    server.server.resume()
    await until_there(guarded)
    assert await guarded.load(seen.key) == seen


async def test_without_a_guard_a_frozen_server_costs_one_time_out(server: RedisServer, store: Store) -> None:
    await store.ping()
    server.server.pause()
    try:
        with pytest.raises(StoreUnavailable, match=r"cannot be used: it did not answer in time\.$"):
            await store.load(key_of(new_id()))
    finally:
        server.server.resume()
    await until_there(store)


async def test_nobody_there(record: Record) -> None:
    port = free_port()
    store = open_store(f"redis://:secret@127.0.0.1:{port}")
    with pytest.raises(StoreUnavailable) as error:
        await store.load(record.key)
    assert str(error.value) == f"The redis store at 127.0.0.1:{port} cannot be used: connection refused."
    with pytest.raises(StoreUnavailable, match="connection refused"):
        await store.ping()
    await store.close()


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_nobody_there_of_many(record: Record, kind: str) -> None:
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


async def test_no_such_host(record: Record) -> None:
    store = open_store("redis://no-such-host.invalid", timeout=20)
    with pytest.raises(StoreUnavailable, match=r"cannot be used: .+ (name|resolution|service)"):
        await store.load(record.key)
    await store.close()


async def test_something_else_there(record: Record) -> None:
    async with web_server() as port:
        store = open_store(f"redis://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable, match="it does not speak the Redis protocol"):
            await store.load(record.key)
        await store.close()


# -- what a server refuses ----------------------------------------------------------------------------------


async def test_a_read_only_replica(binary: Path, server: RedisServer, record: Record) -> None:
    with running(binary, f"replicaof 127.0.0.1 {server.port}") as replica:
        wait_for(lambda: replica.has("master_link_status:up"))
        store = open_store(replica.url)
        await refusing(store, record, "it is a read-only replica")
        await store.close()


async def test_a_replica_that_has_lost_its_master(binary: Path, record: Record) -> None:
    with running(binary, f"replicaof 127.0.0.1 {free_port()}", "replica-serve-stale-data no") as replica:
        store = open_store(replica.url)
        with pytest.raises(StoreUnavailable, match="it is a replica that has lost its master"):
            await store.load(record.key)
        await store.close()


async def refusing(store: Store, record: Record, why: str) -> None:
    """Nothing can be written, and that is said; reading goes on."""
    seen = replace(record, version=1)
    with pytest.raises(StoreUnavailable, match=why):
        await store.create(record)
    assert await store.load(record.key) is None
    assert await store.save(seen, expected=1) is None


async def test_out_of_memory(server: RedisServer, store: Store, record: Record) -> None:
    first = await created(store, record)
    second = await created(store, make_record(now()))
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


async def test_a_disk_that_cannot_be_written(binary: Path, record: Record) -> None:
    with running(binary, "save 3600 1") as server:
        (server.folder / "dump.rdb").mkdir()  # where the file should be
        server.ask("SET", "a", "b")
        server.ask("BGSAVE")
        wait_for(lambda: server.has("rdb_last_bgsave_status:err"))
        store = open_store(server.url)
        await refusing(store, record, "it cannot save to its disk and so takes no writes")
        await store.close()
        (server.folder / "dump.rdb").rmdir()


async def test_a_server_that_is_loading(binary: Path, record: Record) -> None:
    slow = ("rdbcompression no", "key-load-delay 20000", "loading-process-events-interval-bytes 1024")
    with running(binary, *slow) as server:
        for number in range(30):
            server.ask("SET", f"key{number}", "x" * 1024)
        server.ask("SAVE")
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


async def test_as_many_clients_as_the_server_takes(server: RedisServer, record: Record) -> None:
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
        await until_there(store)
        await store.close()


# -- the way there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 5, 9, 1000, 30_000, 65_590])
async def test_a_load_whose_answer_is_cut(behind: Store, proxy: Proxy, count: int) -> None:
    record = await created(behind, make_record(now(), data=b"x" * 65_536))
    proxy.answers_for(count)
    with pytest.raises(StoreUnavailable, match="connection closed by server"):
        await behind.load(record.key)
    proxy.heal()
    assert await behind.load(record.key) == record


async def test_a_save_whose_answer_is_cut_is_refused_though_done(
    behind: Store, proxy: Proxy, record: Record
) -> None:
    seen = await created(behind, record)
    seen = replace(seen, version=await behind.save(seen, expected=seen.version) or 0)
    proxy.answers_for(2)  # of :1 and the end of its line
    with pytest.raises(StoreUnavailable, match="connection closed by server"):
        await behind.save(replace(seen, data=b"1"), expected=seen.version)
    proxy.heal()
    assert await behind.save(replace(seen, data=b"2"), expected=seen.version) is None
    loaded = await behind.load(record.key)
    assert loaded is not None
    assert loaded.data == b"1"


async def test_of_commands_that_travel_together_those_answered_before_a_cut_are_answered(
    behind: Store, proxy: Proxy
) -> None:
    records = [await created(behind, make_record(now(), data=b"%d" % number)) for number in range(10)]
    one_answer = 2 * len(b"\r\n") + len(b"$57") + 57
    proxy.answers_for(3 * one_answer + 20)
    loads = (behind.load(record.key) for record in records)
    answers = await asyncio.gather(*loads, return_exceptions=True)
    assert answers[:3] == records[:3]
    assert {type(answer) for answer in answers[3:]} == {StoreUnavailable}
    proxy.heal()
    assert await asyncio.gather(*(behind.load(record.key) for record in records)) == records


async def test_one_refused_command_harms_no_other(server: RedisServer, store: Store) -> None:
    records = [await created(store, make_record(now())) for _ in range(10)]
    server.ask("DEL", PREFIX + records[4].key)
    server.ask("RPUSH", PREFIX + records[4].key, "a", "list")
    answers = await asyncio.gather(*(store.load(record.key) for record in records), return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["Record"] * 4 + ["UnreadableRecord"] + [
        "Record"
    ] * 5
    assert answers[5:] == records[5:]
    await store.delete(records[4].key)


async def test_connections_cut_under_load(behind: Store, proxy: Proxy) -> None:
    layer = Layer(behind, now, Policy(timeout=TIMEOUT))
    await cut_connections(proxy, layer, times=20, every=20)


async def test_connections_that_hang_under_load(behind: Store, proxy: Proxy) -> None:
    async with traffic(Layer(behind, now, Policy(timeout=TIMEOUT)), keeps=True) as visitors:
        await visitors.more(visitors.answered, 100)
        proxy.answers_for(500, hang=True)
        await visitors.more(visitors.refused, 20)
        proxy.heal()
        await visitors.more(visitors.answered, 100)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used(
    server: RedisServer, store: Store, record: Record
) -> None:
    seen = await created(store, record)
    for _ in range(5):
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.to_thread(wait_for, lambda: server.has("connected_clients:1"))  # who asks
        assert await store.load(record.key) == seen


async def test_an_answer_that_comes_late(behind: Store, proxy: Proxy, record: Record) -> None:
    seen = await created(behind, record)
    proxy.answers_for(10, hang=True)
    load = asyncio.create_task(behind.load(record.key))
    await asyncio.wait([load], timeout=TIMEOUT / 4)
    proxy.heal()
    assert await load == seen


async def test_connections_that_hang_for_good_are_given_up(
    behind: Store, proxy: Proxy, record: Record
) -> None:
    seen = await created(behind, record)
    proxy.answers_for(0, hang=True)
    stuck = await asyncio.gather(*(behind.load(seen.key) for _ in range(100)), return_exceptions=True)
    assert {type(answer) for answer in stuck} == {StoreUnavailable}
    proxy.forget()
    assert await behind.load(seen.key) == seen


async def test_nobody_gets_the_answer_to_another_ones_question(behind: Store, proxy: Proxy) -> None:
    await cancel_amid_answers(behind, proxy, (0, 5, 100, 150, 200, 1000))


async def test_a_listing_that_is_cut_is_no_whole_one(
    behind: Store, proxy: Proxy, server: RedisServer
) -> None:
    server.ask("FLUSHALL")
    for _ in range(100):
        await behind.create(make_record(now(), user_id="7"))
    assert isinstance(behind, RedisStore)
    for user_id in (None, "7"):
        proxy.answers_for(5000)
        with pytest.raises(StoreUnavailable):
            assert [found async for found in behind.scan(user_id=user_id)]
        proxy.heal()
        assert len([found async for found in behind.scan(user_id=user_id)]) == 100


async def test_who_is_not_in_the_index_is_not_let_in(
    behind: Store, proxy: Proxy, server: RedisServer
) -> None:
    """A log-in whose index could not be written fails, so that ending all of a user's sessions finds all."""
    await created(behind, make_record(now(), user_id="8"))
    proxy.answers_for(len(b"+OK\r\n"))
    with pytest.raises(StoreUnavailable):
        await behind.create(make_record(now(), user_id="8"))
    proxy.heal()


# -- nobody is let in ---------------------------------------------------------------------------------------


async def who(request: Request) -> JSONResponse:
    return JSONResponse(request.session.get("user"))


async def begin(request: Request) -> JSONResponse:
    request.session["user"] = "ada"
    return JSONResponse("ada")


async def test_a_request_with_a_cookie_is_503_until_the_server_is_back(
    server: RedisServer, store: Store
) -> None:
    layer = Middleware(SessionMiddleware, store=store, timeout=TIMEOUT)
    transport = httpx.ASGITransport(
        Starlette(routes=[Route("/", who), Route("/begin", begin)], middleware=[layer])
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
