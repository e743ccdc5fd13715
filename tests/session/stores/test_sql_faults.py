"""SQL servers that reject connections, hang, stop and restart."""

import asyncio
import errno
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from struct import pack

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, func, literal, make_url, select

from cartapp.session.errors import StoreTimeout, StoreUnavailable
from cartapp.session.record import Record, now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.support.databases import SERVERS, emptied
from tests.support.polling import DEADLINE, get_record_version, wait_until_available, wait_until_saved
from tests.support.servers.process import free_port
from tests.support.servers.proxy import Proxy
from tests.support.servers.sql import PASSWORD, SqlServer
from tests.support.store_workers import ended, write_under_faults
from tests.support.stores import make_record
from tests.support.workers import answer, numbered, piped

pytestmark = [pytest.mark.anyio, pytest.mark.promise(6)]


@pytest.fixture(params=SERVERS)
def running(request: pytest.FixtureRequest) -> Iterator[SqlServer]:
    server: SqlServer = request.getfixturevalue(SERVERS[request.param])
    emptied(server.url)
    yield server
    server.server.resume()


@pytest.fixture
async def store(running: SqlServer) -> AsyncIterator[SqlStore]:
    store = SqlStore(Database(running.url, pool_size=3, timeout=5))
    yield store
    await store.close()


@pytest.fixture
async def stored(store: SqlStore) -> Record:
    record = make_record(now())
    assert await store.create(record) == 1
    return replace(record, version=1)


async def test_an_unreachable_server_is_named(running: SqlServer) -> None:
    port = free_port()
    url = make_url(running.url).set(port=port).render_as_string(hide_password=False)
    await fails(url, f"database at 127.0.0.1:{port} cannot be used")


async def test_a_wrong_password_is_refused_and_not_shown(running: SqlServer) -> None:
    url = make_url(running.url).set(password=PASSWORD + "wrong").render_as_string(hide_password=False)
    await fails(url, "cannot be used: ")


# Drivers leave connections cut during a handshake to the garbage collector, Firebird's also statements; no
# filter keeps their warnings from other tests.
@pytest.mark.parametrize("running", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_connection_cut_during_connect_is_an_outage(running: SqlServer) -> None:
    """At every stage, with any error of the driver."""
    port = make_url(running.url).port
    assert port is not None
    async with Proxy(port) as proxy, Proxy(free_port()) as to_nothing:
        for through in (proxy, to_nothing):
            url = make_url(running.url).set(port=through.port).render_as_string(hide_password=False)
            for count in range(0, 1500, 11):
                through.answers_for(count)
                database = Database(url, pool_size=1, timeout=5)
                with suppress(StoreUnavailable):
                    await database.read(lambda connection: connection.scalar(select(literal(1))))
                await database.close()
        gc.collect()


async def test_an_unknown_database_is_refused(running: SqlServer) -> None:
    url = make_url(running.url).set(database="/nowhere").render_as_string(hide_password=False)
    await fails(url, "cannot be used: ")


@pytest.mark.parametrize("running", ["firebird"], indirect=True)
async def test_an_error_of_the_servers_operating_system_is_an_outage(running: SqlServer) -> None:
    """With Firebird it has no code, except from a server that is shutting down."""
    accept = pack(">4i", 3, 0x8000 | 10, 1, 3)  # op_accept: protocol, architecture, type
    refusal = pack(">2iq4i", 9, 0, 0, 0, 7, errno.ECONNRESET, 0)  # op_response: isc_arg_unix

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (accept, refusal):
            await reader.read(4096)
            writer.write(part)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        url = make_url(running.url).set(port=port).render_as_string(hide_password=False)
        await fails(url, "cannot be used: Connection reset by peer")


async def fails(url: str, words: str) -> None:
    store = SqlStore(Database(url))
    with pytest.raises(StoreUnavailable, match=words) as raised:
        await store.ping()
    assert PASSWORD not in str(raised.value)
    await store.close()


async def test_a_hanging_server_costs_one_timeout_and_no_connection(
    running: SqlServer, store: SqlStore, stored: Record
) -> None:
    guarded = CircuitBreakerStore(store)
    async with asyncio.timeout(DEADLINE):
        for _ in range(2):
            running.server.pause()
            calls = (guarded.load(stored.key) for _ in range(20))
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(answer) for answer in answers} == {StoreTimeout}
            running.server.resume()
            await wait_until_available(guarded)
            loaded = await asyncio.gather(*(store.load(stored.key) for _ in range(20)))
            assert loaded == [stored] * 20


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_operations_before_the_first_response_wait_one_timeout_together(running: SqlServer) -> None:
    """The table is not checked yet: no operation waits for the checks of others."""
    port = make_url(running.url).port
    assert port is not None
    async with Proxy(port) as proxy, asyncio.timeout(DEADLINE):
        proxy.answers_for(0, hang=True)
        url = make_url(running.url).set(port=proxy.port).render_as_string(hide_password=False)
        other = SqlStore(Database(url, pool_size=3, timeout=1))
        calls = (other.load(make_record(0).key) for _ in range(120))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
        proxy.heal()
        await wait_until_available(other)
        record = make_record(now())
        assert await other.create(record) == 1
        await other.close()
    gc.collect()


@pytest.mark.parametrize("running", ["firebird"], indirect=True)
async def test_the_timeout_of_a_driver_during_connect_is_a_timeout(running: SqlServer) -> None:
    """A blocking driver has a timer of its own, which may end before the caller's."""
    url = make_url(running.url)
    assert url.port is not None
    async with Proxy(url.port) as proxy, asyncio.timeout(DEADLINE):
        proxy.answers_for(0, hang=True)
        there = url.set(port=proxy.port).render_as_string(hide_password=False)
        database = Database(there, pool_size=1, timeout=1)
        with pytest.raises(StoreTimeout):
            await database.run(lambda connection: connection.scalar(select(literal(1))), unbounded=True)
        proxy.heal()
        await database.close()
    gc.collect()


async def test_a_store_is_closed_though_the_server_hangs(
    running: SqlServer, stored: Record, store: SqlStore
) -> None:
    other = SqlStore(Database(running.url, pool_size=3, timeout=1))
    assert await other.load(stored.key) == stored
    running.server.pause()
    loading = [asyncio.create_task(CircuitBreakerStore(other).load(stored.key)) for _ in range(5)]
    await asyncio.wait(loading)
    assert all(isinstance(task.exception(), StoreUnavailable) for task in loading)
    async with asyncio.timeout(DEADLINE):
        await other.close()


async def test_a_new_connection_to_a_hanging_server_is_closed(running: SqlServer) -> None:
    other = SqlStore(Database(running.url, pool_size=3, timeout=1))
    running.server.pause()
    loading = [asyncio.create_task(CircuitBreakerStore(other).ping()) for _ in range(5)]
    await asyncio.wait(loading)
    assert all(isinstance(task.exception(), StoreUnavailable) for task in loading)
    async with asyncio.timeout(DEADLINE):
        await other.close()


@pytest.mark.parametrize("running", ["postgresql", "mariadb"], indirect=True)
async def test_the_connection_of_a_cancelled_caller_is_not_reused(running: SqlServer) -> None:
    """Its response may still come, or never."""
    url = make_url(running.url)
    assert url.port is not None
    async with Proxy(url.port) as proxy, asyncio.timeout(DEADLINE):
        other = SqlStore(
            Database(url.set(port=proxy.port).render_as_string(hide_password=False), pool_size=1)
        )
        record = make_record(now())
        assert await other.create(record) == 1
        proxy.swallow()
        loading = asyncio.create_task(other.load(record.key))
        while not other.connections_in_use():  # noqa: ASYNC110 - a pool has no event
            await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert await other.load(record.key) == replace(record, version=1)
        await other.close()


async def test_an_operation_on_a_lost_connection_is_repeated_on_a_new_one(running: SqlServer) -> None:
    database = Database(running.url)
    assert await database.run(execute_one) == 1
    await asyncio.to_thread(running.server.restart)
    assert await database.run(execute_one) == 1
    await database.close()


async def test_work_is_not_repeated_after_a_connection_loss_during_commit(running: SqlServer) -> None:
    def work(connection: Connection) -> None:
        done.append(execute_one(connection))
        running.server.restart()

    done: list[int] = []
    database = Database(running.url)
    with pytest.raises(StoreUnavailable):
        await database.run(work)
    assert done == [1]
    await database.close()


def execute_one(connection: Connection) -> int:
    """Execute one statement; its result is 1."""
    return connection.execute(select(func.count()).select_from(select(literal(1)).subquery())).scalar_one()


async def test_a_restart_under_load_loses_no_answered_write(running: SqlServer, store: SqlStore) -> None:
    keys = [make_record(0).key for _ in range(5)]
    for key in keys:
        await store.create(make_record(now(), key=key, data=numbered(0)))
    workers = [piped(write_under_faults, running.url, keys) for _ in range(2)]
    await until_written(store, keys, 20)
    await asyncio.to_thread(running.server.restart)
    await until_written(store, keys, 20)
    await asyncio.to_thread(running.server.kill)
    await asyncio.to_thread(running.server.start)
    await until_written(store, keys, 20)
    for _, pipe in workers:
        pipe.send("stop")
    results = [await asyncio.to_thread(answer, pipe) for _, pipe in workers]
    assert await ended([worker for worker, _ in workers]) == [0, 0]
    for key in keys:
        record = await store.load(key)
        assert record is not None
        assert int(record.version) >= max(versions.get(key, 1) for _, versions in results)
        assert record.data == numbered(int(record.version) - 1)


async def until_written(store: SqlStore, keys: list[str], times: int) -> None:
    """Wait until each record has been saved this many times more."""
    versions = {key: await get_record_version(store, key) + times for key in keys}
    for key, version in versions.items():
        await wait_until_saved(store, key, version)
