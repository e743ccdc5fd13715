"""Pooled connections closed by the server, swallowed by the network, or outdated by a failover."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from threading import Event, Thread

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, make_url, text

from cartapp.session.errors import RecordTooLarge, StoreTimeout, StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.support.databases import SERVERS, emptied
from tests.support.polling import DEADLINE, poll_until
from tests.support.requirements import require_package
from tests.support.servers.mariadb import global_variables
from tests.support.servers.proxy import Proxy
from tests.support.servers.sql import SqlServer
from tests.support.session_layer import SessionLayer
from tests.support.sql_pairs import administer
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

CONNECTIONS = 3

SHORT = 5.0
"""Timeout in seconds of a store in tests that wait for it; only the lost connection may take as long."""

DRIVERS = {
    "postgresql": ("postgresql", None),
    "postgresql+psycopg": ("postgresql", "psycopg"),
    "mariadb": ("mariadb", None),
    "mariadb+pymysql": ("mariadb", "pymysql"),
    "firebird": ("firebird", None),
}
"""Engine and package of each driver under test; that of an engine's default driver is always installed."""


@pytest.fixture(params=[driver for driver in DRIVERS if driver != "firebird"])
def driver(request: pytest.FixtureRequest) -> str:
    driver: str = request.param
    if package := DRIVERS[driver][1]:
        require_package(package, f"pip install {package}")
    return driver


@pytest.fixture
def running(driver: str, request: pytest.FixtureRequest) -> SqlServer:
    server: SqlServer = request.getfixturevalue(SERVERS[DRIVERS[driver][0]])
    emptied(server.url)
    return server


@asynccontextmanager
async def pooled(
    url: str, driver: str = "", port: int | None = None, timeout: float = DEADLINE
) -> AsyncIterator[SqlStore]:
    """Yield a store after all of its connections have been used."""
    parsed = make_url(url)
    parsed = parsed.set(drivername=driver or parsed.drivername, port=port or parsed.port)
    store = SqlStore(
        Database(parsed.render_as_string(hide_password=False), pool_size=CONNECTIONS, timeout=timeout)
    )
    try:
        await store.ping()
        await use_all(store)
        yield store
    finally:
        await store.close()


async def use_all(store: SqlStore) -> None:
    """Write concurrently on all connections of the pool."""
    records = [make_record(now()) for _ in range(CONNECTIONS)]
    assert await asyncio.gather(*(store.create(record) for record in records)) == [1] * CONNECTIONS


@contextmanager
def in_database(server: SqlServer, setting: str, value: str) -> Iterator[None]:
    """Change a setting of PostgreSQL for connections opened in the block."""
    name = make_url(server.url).database
    administer(server, f"ALTER DATABASE {name} SET {setting} = {value}", database="template1")
    try:
        yield
    finally:
        administer(server, f"ALTER DATABASE {name} RESET {setting}", database="template1")


# -- closed by the server -----------------------------------------------------------------------------------


IDLE_SECONDS = 3
"""Until the server closes an idle connection; all connections of the pool are opened and used before."""


def closing_idle(server: SqlServer) -> AbstractContextManager[None]:
    if "postgresql" in server.url:
        return in_database(server, "idle_session_timeout", f"'{IDLE_SECONDS}s'")
    return global_variables(server, wait_timeout=IDLE_SECONDS)


def connections(server: SqlServer) -> object:
    """Return the number of the application's connections according to the server."""
    if "postgresql" in server.url:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres'"
        return administer(server, query, database="template1")
    return administer(server, "SELECT count(*) FROM information_schema.processlist WHERE user = 'cart'")


async def test_a_write_after_the_server_closed_idle_connections(running: SqlServer, driver: str) -> None:
    async def are_gone() -> bool:
        return await asyncio.to_thread(connections, running) == 0

    context = closing_idle(running)
    await asyncio.to_thread(context.__enter__)
    try:
        async with pooled(running.url, driver) as store:
            await poll_until(are_gone)
            await use_all(store)
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


# -- swallowed by the network -------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS, indirect=True)
async def test_after_one_timeout_no_swallowed_connection_is_used(running: SqlServer, driver: str) -> None:
    timeouts = 0
    async with (
        Proxy(make_url(running.url).port or 0) as proxy,
        pooled(running.url, driver, proxy.port, timeout=SHORT) as store,
    ):
        guarded = CircuitBreakerStore(store)
        proxy.swallow()
        for _ in range(3 * CONNECTIONS):
            try:
                await guarded.create(make_record(now()))
            except StoreUnavailable as error:
                timeouts += isinstance(error, StoreTimeout)
                await asyncio.sleep(0.1)  # until the circuit breaker lets a probe through
    assert timeouts == 1


# -- outdated by a failover ---------------------------------------------------------------------------------


def read_only(server: SqlServer) -> AbstractContextManager[None]:
    """Make connections opened in the block read-only for good, like those to a former primary."""
    if "postgresql" in server.url:
        return in_database(server, "default_transaction_read_only", "on")
    return global_variables(server, tx_read_only=1)


async def test_connections_to_a_read_only_server_are_given_up(running: SqlServer, driver: str) -> None:
    async with pooled(running.url, driver) as first:  # creates the table
        await first.ping()
    context = read_only(running)
    await asyncio.to_thread(context.__enter__)
    store = SqlStore(Database(with_driver(running.url, driver), pool_size=CONNECTIONS, timeout=DEADLINE))
    try:
        try:
            await asyncio.gather(*(refused(store) for _ in range(CONNECTIONS)))
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
        await asyncio.sleep(1.1)  # connections are not replaced more often than once a second
        await use_all(store)
        await use_all(store)
    finally:
        await store.close()


_READ_ONLY_AFTER_THE_LOCK = {
    "postgresql": text("SELECT pg_advisory_xact_lock_shared(1), current_setting('transaction_read_only')"),
    "mariadb": text("SELECT GET_LOCK('asked', 60), @@tx_read_only, RELEASE_LOCK('asked')"),
}
_LOCK = {"postgresql": "SELECT pg_advisory_lock(1)", "mariadb": "SELECT GET_LOCK('asked', 60)"}
_WAITING = {
    "postgresql": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock'",
}


@contextmanager
def holding(server: SqlServer, lock: str) -> Iterator[None]:
    """Hold a lock on a connection of another event loop, which the wait blocks."""
    is_held, release = Event(), Event()

    def hold(connection: Connection) -> None:
        connection.exec_driver_sql(lock)
        is_held.set()
        release.wait(DEADLINE)

    async def run() -> None:
        database = Database(server.url, timeout=2 * DEADLINE)
        await database.read(hold)
        await database.close()

    holder = Thread(target=asyncio.run, args=(run(),))
    holder.start()
    try:
        assert is_held.wait(DEADLINE)
        yield
    finally:
        release.set()
        holder.join()


async def test_no_read_comes_from_the_former_primary_after_a_write(running: SqlServer, driver: str) -> None:
    """Though connections to it were opened after the last refusal."""
    async with pooled(running.url, driver) as first:  # creates the table
        await first.ping()
    engine = DRIVERS[driver][0]
    database = Database(with_driver(running.url, driver), pool_size=CONNECTIONS, timeout=DEADLINE)
    store = SqlStore(database)

    async def ask() -> str:
        row = await database.read(lambda each: each.execute(_READ_ONLY_AFTER_THE_LOCK[engine]).one())
        return str(row[1])

    async def all_but_one_wait() -> bool:
        return await asyncio.to_thread(administer, running, _WAITING[engine]) == CONNECTIONS - 1

    @asynccontextmanager
    async def asking() -> AsyncIterator[None]:
        """Ask on all connections but one at once; each of them is still the former primary's."""
        with holding(running, _LOCK[engine]):
            answers = [asyncio.create_task(ask()) for _ in range(CONNECTIONS - 1)]
            await poll_until(all_but_one_wait)
            yield
        assert set(await asyncio.gather(*answers)) <= {"on", "1"}

    context = read_only(running)
    await asyncio.to_thread(context.__enter__)
    try:
        try:
            await refused(store)
            async with asking():
                pass
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
        async with asking():
            assert await store.create(make_record(now())) == 1
        assert set(await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))) <= {"off", "0"}
    finally:
        await store.close()


async def refused(store: SqlStore) -> None:
    with pytest.raises(StoreUnavailable, match=r"read.only|READ ONLY"):
        await store.create(make_record(now()))


def with_driver(url: str, driver: str) -> str:
    return make_url(url).set(drivername=driver).render_as_string(hide_password=False)


# -- schema changes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"], indirect=True)
async def test_a_column_is_read_though_its_type_changes(running: SqlServer, driver: str) -> None:
    async with pooled(running.url, driver) as store:
        record = make_record(now(), user_id="ada")
        stored = replace(record, version=await store.create(record))
        for _ in range(20):  # psycopg prepares a statement after some executions
            await asyncio.gather(*(store.load(record.key) for _ in range(CONNECTIONS)))
        await asyncio.to_thread(change_type, running)
        loaded = await asyncio.gather(*(store.load(record.key) for _ in range(2 * CONNECTIONS)))
        assert loaded == [stored] * 2 * CONNECTIONS


def change_type(server: SqlServer) -> None:
    def change(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE cart_session ALTER COLUMN user_id TYPE text"))

    async def run() -> None:
        database = Database(server.url, timeout=DEADLINE)
        await database.run(change)
        await database.close()

    asyncio.run(run())


@pytest.fixture
def small_packets(mariadb_server: SqlServer) -> Iterator[SqlServer]:
    emptied(mariadb_server.url)
    with global_variables(mariadb_server, max_allowed_packet=16384):
        yield mariadb_server


@pytest.mark.parametrize("driver", ["mariadb", "mariadb+pymysql"])
async def test_a_record_above_the_largest_packet_is_too_large(small_packets: SqlServer, driver: str) -> None:
    if package := DRIVERS[driver][1]:
        require_package(package, f"pip install {package}")
    async with pooled(small_packets.url, driver) as store:
        with pytest.raises(RecordTooLarge) as raised:
            await store.create(make_record(now(), data=b"x" * 16384))
        limit = raised.value.limit
        largest, larger = (make_record(now(), data=b"x" * size) for size in (limit, limit + 1))
        assert await store.create(largest) == 1
        with pytest.raises(RecordTooLarge):
            await store.create(larger)
        with pytest.raises(RecordTooLarge):
            await store.save(replace(largest, data=b"x" * 16384), expected=1)
        loaded: Record | None = await store.load(largest.key)
        assert loaded is not None
        assert len(loaded.data) == limit


async def test_a_session_above_the_largest_packet_names_its_largest_keys(small_packets: SqlServer) -> None:
    from cartapp.session import SessionTooLarge

    async with pooled(small_packets.url) as store:
        layer = SessionLayer(store, now, SessionPolicy())
        cookie = await layer.begin(name="Ada")
        session, _ = await layer.load(cookie)
        session["notes"] = "x" * 16384
        with pytest.raises(SessionTooLarge, match="its largest keys: notes"):
            await session.save()
        assert await layer.read(cookie) == {"name": "Ada"}
