"""The SQL store beyond the contract, on every engine."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, select, update

from cartapp.session.errors import StoreUnavailable, UnsupportedValue
from cartapp.session.record import now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE, SqlStore
from tests.conftest import ManualClock
from tests.support.databases import DATABASES, SERVERS
from tests.support.polling import STORE_TIMEOUT, wait_until_saved
from tests.support.store_workers import create_one, ended, increment_many, purge_all, write_until_gone
from tests.support.stores import make_record
from tests.support.workers import answer, piped, started

pytestmark = pytest.mark.anyio


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES[request.param](request)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, timeout=STORE_TIMEOUT)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database, clock: ManualClock) -> SqlStore:
    return SqlStore(database, clock=clock)


# -- the table ----------------------------------------------------------------------------------------------


async def test_ten_concurrent_starts_create_one_table(url: str) -> None:
    workers = [piped(create_one, url) for _ in range(10)]
    assert [answer(pipe) for _, pipe in workers] == ["ready"] * 10
    for _, pipe in workers:
        pipe.send("go")
    assert await ended([worker for worker, _ in workers]) == [0] * 10
    store = SqlStore(Database(url, timeout=STORE_TIMEOUT))
    assert len([found async for found in store.scan()]) == 10
    await store.close()


async def test_b5_a_dropped_table_is_an_outage(
    store: SqlStore, database: Database, clock: ManualClock
) -> None:
    """The sessions may be elsewhere: an empty table in its place would end them all."""
    record = make_record(clock.now)
    await store.create(record)
    await database.close()  # Firebird does not drop a table that a connection has used
    await database.run(TABLE.drop)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await store.load(record.key)
    with pytest.raises(StoreUnavailable, match="cart_session is gone; put it back"):
        await store.create(record)
    other = SqlStore(database, clock=clock)
    assert await other.load(record.key) is None  # creates one
    assert await store.create(record) == 1


async def test_a_dropped_table_is_created_again(
    store: SqlStore, database: Database, clock: ManualClock
) -> None:
    record = make_record(clock.now)
    await store.create(record)
    await database.close()
    other = Database(str(database.dialect.url.render_as_string(hide_password=False)), timeout=STORE_TIMEOUT)
    await other.run(TABLE.drop)
    again = SqlStore(other, clock=clock)
    assert await again.load(record.key) is None
    assert await again.create(record) == 1
    await again.close()


async def test_a_row_that_a_constraint_refuses_is_an_outage_and_no_taken_key(url: str) -> None:
    """An administrator has added it; SQLite cannot add one to a table."""
    database = Database(url, timeout=STORE_TIMEOUT)
    if database.dialect.embedded:
        pytest.skip("SQLite adds no constraint to a table")
    store = SqlStore(database, table="restricted")
    record = make_record(now(), data=b"{}")
    assert await store.create(record) == 1
    await database.close()  # Firebird does not change a table that a connection has used
    await database.run(
        lambda connection: connection.exec_driver_sql("ALTER TABLE restricted ADD CHECK (size < 10)")
    )
    large = replace(record, key=make_record(0).key, data=b'{"large": true}')
    with pytest.raises(StoreUnavailable):
        await store.create(large)
    with pytest.raises(StoreUnavailable):
        await store.save(replace(large, key=record.key), expected=1)
    assert await store.create(record) is None
    await database.close()
    await database.run(lambda connection: connection.exec_driver_sql("DROP TABLE restricted"))
    await database.close()


# -- names --------------------------------------------------------------------------------------------------


async def test_user_ids_equal_under_a_collation_are_distinguished(
    store: SqlStore, clock: ManualClock
) -> None:
    users = ["zoë", "Zoë", "zoe", "zoë ", "zoë\0", "zoë%00", "%", "%25", "%2500", "Straße", "Strasse"]
    for user in users:
        await store.create(make_record(clock.now, user_id=user))
    for user in users:
        assert [found.user_id async for found in store.scan(user_id=user)] == [user]


async def test_keys_that_differ_only_in_case_are_different(store: SqlStore, clock: ManualClock) -> None:
    keys = ["a" * 21 + "A", "A" * 22, "aA" * 10 + "aA", "Aa" * 10 + "AA"]
    for key in keys:
        assert await store.create(make_record(clock.now, key=key)) == 1
    for key in keys:
        found = await store.load(key)
        assert found is not None
        assert found.key == key


async def test_a_user_id_is_kept_up_to_255_characters(store: SqlStore, clock: ManualClock) -> None:
    longest = make_record(clock.now, user_id="🛒" * 255)
    assert await store.create(longest) == 1
    assert await store.load(longest.key) == replace(longest, version=1)
    with pytest.raises(UnsupportedValue, match="255 characters here, not 256"):
        await store.create(make_record(clock.now, user_id="x" * 256))


async def test_data_of_a_megabyte_is_kept(store: SqlStore, clock: ManualClock) -> None:
    record = make_record(clock.now, data=bytes(range(256)) * 4096)
    await store.create(record)
    assert await store.load(record.key) == replace(record, version=1)


# -- writes without a change --------------------------------------------------------------------------------


async def test_a_touch_with_the_same_times_finds_its_row(store: SqlStore, clock: ManualClock) -> None:
    """MySQL counts changed rows by default; the store makes it count matched rows."""
    record = make_record(clock.now)
    await store.create(record)
    times = {"last_used": record.last_used, "expires": record.expires}
    assert await store.touch(record.key, expected=1, **times)


# -- several processes --------------------------------------------------------------------------------------


@pytest.mark.promise(1)
async def test_increments_of_several_processes_are_all_kept(url: str) -> None:
    store = SqlStore(Database(url, timeout=STORE_TIMEOUT))
    record = make_record(now(), data=b"0")
    await store.create(record)
    workers = [started(increment_many, url, record.key, 50) for _ in range(4)]
    assert await ended(workers) == [0] * 4
    counted = await store.load(record.key)
    assert counted is not None
    assert (counted.data, counted.version) == (b"200", 201)
    await store.close()


@pytest.mark.promise(2)
async def test_record_deleted_under_concurrent_writers_stays_deleted(url: str) -> None:
    store = SqlStore(Database(url, timeout=STORE_TIMEOUT))
    records = [make_record(now()) for _ in range(10)]
    for record in records:
        await store.create(record)
    workers = [started(write_until_gone, url, [record.key for record in records]) for _ in range(3)]
    for record in records:
        await wait_until_saved(store, record.key, 10)  # the other processes are writing
        assert await store.delete(record.key)
    assert await ended(workers) == [0] * 3
    assert [found async for found in store.scan()] == []
    await store.close()


async def test_several_processes_purge_at_once(url: str) -> None:
    at = now()
    store = SqlStore(Database(url, timeout=STORE_TIMEOUT), clock=lambda: at)
    live = make_record(at)
    await store.create(live)
    for _ in range(1200):
        await store.create(make_record(at, expires=at + 1))
    workers = [piped(purge_all, url, at + 1) for _ in range(3)]
    assert await ended([worker for worker, _ in workers]) == [0] * 3
    removed = [answer(pipe) for _, pipe in workers]
    # A purge that skips the locked rows of another one may leave some behind.
    assert sum(removed) + await store.purge(at + 1) == 1200
    assert [found.key async for found in store.scan()] == [live.key]
    await store.close()


@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)
async def test_purge_skips_locked_rows(store: SqlStore, url: str, clock: ManualClock) -> None:
    used, *others = [make_record(clock.now, expires=clock.now + 1) for _ in range(10)]
    for record in (used, *others):
        await store.create(record)
    is_held, release = threading.Event(), threading.Event()

    def prolong(connection: Connection) -> None:
        connection.execute(update(TABLE).where(TABLE.c.skey == used.key).values(expires=clock.now + 1000))
        is_held.set()
        assert release.wait(STORE_TIMEOUT), "the purge has waited for this row"

    async def hold() -> None:
        """On a separate event loop, which it may block."""
        database = Database(url, timeout=STORE_TIMEOUT)
        try:
            await database.run(prolong)
        finally:
            await database.close()

    holding = asyncio.create_task(asyncio.to_thread(asyncio.run, hold()))
    try:
        assert await asyncio.to_thread(is_held.wait, STORE_TIMEOUT)
        assert await store.purge(clock.now + 1) == len(others)
    finally:
        release.set()
        await holding
    assert await store.purge(clock.now + 1) == 0
    assert [found.key async for found in store.scan()] == [used.key]


# -- transactions -------------------------------------------------------------------------------------------


async def test_a_transaction_is_all_or_nothing(
    store: SqlStore, database: Database, clock: ManualClock
) -> None:
    record = make_record(clock.now)
    await store.create(record)

    def halfway(connection: Connection) -> None:
        connection.execute(update(TABLE).values(epoch=7))
        raise LookupError("broken off")

    with pytest.raises(LookupError):
        await database.run(halfway)
    assert await store.load(record.key) == replace(record, version=1)


async def test_work_sees_its_own_writes_and_is_committed(
    store: SqlStore, database: Database, clock: ManualClock
) -> None:
    await store.create(make_record(clock.now))

    def work(connection: Connection) -> int | None:
        connection.execute(update(TABLE).values(epoch=TABLE.c.epoch + 7))
        return connection.execute(select(TABLE.c.epoch)).scalar()

    assert await database.run(work) == 7
    assert [row.epoch for row in await database.fetch(select(TABLE.c.epoch))] == [7]


@pytest.mark.parametrize("url", SERVERS, indirect=True)
async def test_a_deadlock_is_tried_again(store: SqlStore, url: str, clock: ManualClock) -> None:
    """Two transactions lock two rows in opposite order, each waiting for the other's first one."""
    keys = ["a" * 21 + "A", "b" * 21 + "A"]
    for key in keys:
        await store.create(make_record(clock.now, key=key))
    both_have_one = threading.Barrier(2)
    runs = []

    def add_one(connection: Connection, key: str) -> None:
        connection.execute(update(TABLE).where(TABLE.c.skey == key).values(epoch=TABLE.c.epoch + 1))

    def add_to_both(first: str, second: str) -> None:
        """On a separate event loop, which it may block."""

        def work(connection: Connection) -> None:
            runs.append(first)
            add_one(connection, first)
            if len(runs) <= 2:
                both_have_one.wait(STORE_TIMEOUT)
            add_one(connection, second)

        async def run() -> None:
            database = Database(url, timeout=STORE_TIMEOUT)
            await database.run(work)
            await database.close()

        asyncio.run(run())

    await asyncio.gather(
        asyncio.to_thread(add_to_both, *keys), asyncio.to_thread(add_to_both, *reversed(keys))
    )
    assert len(runs) > 2
    for key in keys:
        found = await store.load(key)
        assert found is not None
        assert found.epoch == 2


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_serialization_failure_is_tried_again(
    store: SqlStore, database: Database, url: str, clock: ManualClock
) -> None:
    record = make_record(clock.now)
    await store.create(record)
    runs = []

    async def write_first() -> None:
        """On a separate event loop, while the other one is blocked."""
        other = Database(url, timeout=STORE_TIMEOUT)
        await other.execute(update(TABLE).values(epoch=10))
        await other.close()

    def work(connection: Connection) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        runs.append(epoch := connection.execute(select(TABLE.c.epoch)).scalar_one())
        if len(runs) == 1:
            between = threading.Thread(target=asyncio.run, args=(write_first(),))
            between.start()
            between.join()
        connection.execute(update(TABLE).values(epoch=epoch + 1))

    await database.run(work)
    assert runs == [0, 10]
    assert await store.load(record.key) == replace(record, version=1, epoch=11)


@pytest.mark.parametrize("url", ["mariadb", "firebird"], indirect=True)
async def test_a_locked_row_is_retried(
    store: SqlStore, database: Database, url: str, clock: ManualClock
) -> None:
    await store.create(make_record(clock.now))
    is_held, release = threading.Event(), threading.Event()
    runs: list[int] = []

    def add_one(connection: Connection) -> None:
        connection.execute(update(TABLE).values(epoch=TABLE.c.epoch + 1))

    def hold(connection: Connection) -> None:
        add_one(connection)
        is_held.set()
        release.wait(STORE_TIMEOUT)

    def work(connection: Connection) -> None:
        runs.append(len(runs))
        if len(runs) == 2:
            release.set()
        add_one(connection)

    async def held() -> None:
        """On a separate event loop, which it may block."""
        other = Database(url, timeout=STORE_TIMEOUT)
        await other.run(hold)
        await other.close()

    holding = asyncio.create_task(asyncio.to_thread(asyncio.run, held()))
    waiting = Database(url, timeout=4)  # MariaDB ends a wait for a row after half of it
    try:
        assert await asyncio.to_thread(is_held.wait, STORE_TIMEOUT)
        await waiting.run(work)
    finally:
        release.set()
        await holding
        await waiting.close()
    assert len(runs) >= 2
    assert [row.epoch for row in await database.fetch(select(TABLE.c.epoch))] == [2]
