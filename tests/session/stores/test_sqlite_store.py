"""The SQL store on SQLite: its file, its locks, crashes."""

import asyncio
import itertools
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, Engine, event, insert, literal, select, text, update

from cartapp.session.errors import InvalidStoreURL, StoreUnavailable, UnreadableRecord
from cartapp.session.record import Record, now
from cartapp.session.stores import disk_latency
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.sql import sqlite_wal
from cartapp.session.stores.sql.dialects.sqlite import SQLite
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE, SqlStore, _row
from tests.conftest import ManualClock
from tests.support.polling import DEADLINE, wait_for
from tests.support.process_kills import kill_writers_at_random
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "cart.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqlStore]:
    store = SqlStore(Database(f"sqlite:///{path}", timeout=20), clock=clock)
    yield store
    await store.close()


@pytest.fixture
async def stored(store: SqlStore, clock: ManualClock) -> Record:
    record = make_record(clock.now)
    assert await store.create(record) == 1
    return replace(record, version=1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


# -- the file -----------------------------------------------------------------------------------------------


async def test_the_first_use_creates_the_file(path: Path) -> None:
    Database(f"sqlite:///{path}")
    assert not path.parent.exists()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277], ids=oct)
async def test_folders_and_files_are_private_with_any_umask(
    tmp_path: Path, clock: ManualClock, umask: int
) -> None:
    path = tmp_path / "a" / "b" / "cart.db"
    store = SqlStore(Database(f"sqlite:///{path}", timeout=20), clock=clock)
    before = os.umask(umask & ~0o200)
    try:
        await store.create(make_record(clock.now))
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["cart.db", "cart.db-shm", "cart.db-wal"]
    assert not any(stat.S_IMODE(file.stat().st_mode) & 0o077 for file in files)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [
        0o700
    ] * 2
    await store.close()


async def test_the_driver_of_the_default_url_means_the_same_file(
    path: Path, stored: Record, clock: ManualClock
) -> None:
    other = open_store(f"sqlite+aiosqlite:///{path}", clock=clock)
    assert await other.load(stored.key) == stored
    await other.close()


async def test_a_relative_path_survives_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite+aiosqlite:///data/cart.db")
    monkeypatch.chdir("/")
    await store.create(make_record(now()))
    await store.close()
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["cart.db"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite+aiosqlite://"])
async def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(InvalidStoreURL, match="must name a file"):
        open_store(url)


async def test_a_connection_has_the_documented_settings(path: Path) -> None:
    database = Database(f"sqlite:///{path}", timeout=20)
    settings = {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 20000}
    for name, value in settings.items():
        assert await database.read(lambda c, name=name: c.scalar(text(f"PRAGMA {name}"))) == value  # type: ignore[misc]
    await database.close()


async def test_b8_only_sessions_of_users_are_in_their_index(
    store: SqlStore, stored: Record, path: Path, clock: ManualClock
) -> None:
    """The index contains sessions of users only."""
    await store.create(make_record(clock.now, user_id="7"))
    page = "SELECT skey FROM cart_session WHERE user_id = '7' AND skey > '' ORDER BY skey"
    with closing(sqlite3.connect(path)) as other:
        assert "cart_session_user (user_id=? AND skey>?)" in str(
            other.execute(f"EXPLAIN QUERY PLAN {page}").fetchall()
        )
        (definition,) = other.execute(
            "SELECT sql FROM sqlite_schema WHERE name = 'cart_session_user'"
        ).fetchone()
        assert definition.endswith("WHERE user_id IS NOT NULL")


# -- invalid rows -------------------------------------------------------------------------------------------


@pytest.mark.promise(10, backend="database-sqlite")
@pytest.mark.parametrize("column", ["version", "created", "last_used", "expires", "epoch", "data", "user_id"])
async def test_a_row_with_values_of_other_types_is_unreadable(
    store: SqlStore, stored: Record, path: Path, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = "x'ff'" if column == "user_id" else "'garbage'"
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(f"UPDATE cart_session SET {column} = {garbage}")
    with pytest.raises(UnreadableRecord):
        await store.load(stored.key)
    assert await store.create(stored) is None
    listed = [found.key async for found in store.scan()]
    assert listed == ([stored.key] if column in ("epoch", "data") else [])
    assert len(caplog.records) == (not listed)
    assert await store.delete(stored.key)


async def test_another_file_makes_the_store_unavailable(
    store: SqlStore, path: Path, clock: ManualClock
) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 1000)
    sentence = f"^The SQLite file {path} cannot be used: file is not a database.$"
    for call in (store.ping(), store.load("x"), store.create(make_record(clock.now)), store.purge(0)):
        with pytest.raises(StoreUnavailable, match=sentence):
            await call
    path.unlink()
    assert await store.create(make_record(clock.now)) == 1


async def test_a_failed_mkdir_makes_the_store_unavailable(store: SqlStore, path: Path) -> None:
    path.parent.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match=f"^The SQLite file {path} cannot be used: "):
        await store.ping()


# -- locks, threads, cancelled calls ------------------------------------------------------------------------


async def test_readers_do_not_wait_for_a_writer(store: SqlStore, stored: Record, path: Path) -> None:
    with locked(path):
        saving = [asyncio.create_task(store.save(stored, expected=1)) for _ in range(20)]
        await asyncio.sleep(0)  # they begin and wait for the lock
        assert await store.load(stored.key) == stored
        assert not any(task.done() for task in saving)
    assert sorted(await asyncio.gather(*saving), key=str) == [2, *[None] * 19]


@pytest.mark.promise(6, backend="database-sqlite")
async def test_a_lock_held_forever_makes_the_store_unavailable(
    path: Path, stored: Record, clock: ManualClock
) -> None:
    store = SqlStore(Database(f"sqlite:///{path}", timeout=0.1), clock=clock)
    assert await store.load(stored.key) == stored
    sentence = f"^The SQLite file {path} (cannot be used: database is locked|did not respond)"
    with locked(path):
        for call in (store.save(stored, expected=1), store.ping(), store.purge(0)):
            with pytest.raises(StoreUnavailable, match=sentence):
                await call
        assert await store.load(stored.key) == stored
    assert await store.save(stored, expected=1) == 2
    await store.close()


async def test_a_cancelled_write_is_finished_or_not_begun(
    store: SqlStore, stored: Record, path: Path, clock: ManualClock
) -> None:
    with locked(path):
        saving = [asyncio.create_task(store.save(stored, expected=1)) for _ in range(20)]
        await asyncio.sleep(0)  # they begin and wait for the lock
        assert await store.load(stored.key) == stored
        for task in saving:
            task.cancel()
        await asyncio.wait(saving)
    assert all(task.cancelled() for task in saving)
    await store.close()
    afterwards = SqlStore(Database(f"sqlite:///{path}"), clock=clock)
    found = await afterwards.load(stored.key)
    assert found in (stored, replace(stored, version=2))
    assert await afterwards.save(stored, expected=found.version) is not None
    await afterwards.close()


async def test_work_given_up_while_its_connection_is_opened_is_not_done(path: Path) -> None:
    database, done = Database(f"sqlite:///{path}"), []
    opening, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        opening.set()
        go_on.wait(DEADLINE)

    event.listen(Engine, "connect", wait)
    try:
        working = asyncio.create_task(database.run(lambda _: done.append("it")))
        await asyncio.to_thread(opening.wait, DEADLINE)
        working.cancel()
        await asyncio.wait([working])
        go_on.set()
        await database.close()
    finally:
        event.remove(Engine, "connect", wait)
    assert working.cancelled()
    assert done == []


async def test_closing_leaves_no_connection_open_though_a_write_waits(
    store: SqlStore, stored: Record, path: Path
) -> None:
    with open_connections() as connections:
        await store.close()
        with locked(path):
            saving = asyncio.create_task(store.save(stored, expected=1))
            await asyncio.to_thread(wait_for, lambda: len(connections) == 2)  # the writer's wait
            closing = asyncio.create_task(store.close())
        assert await saving == 2
        await closing
    assert not connections


async def test_cancelled_open_is_completed_by_the_next_caller(path: Path) -> None:
    with open_connections() as connections:
        database = Database(f"sqlite:///{path}")
        asking = asyncio.create_task(database.fetch(select(literal(1))))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert (await database.fetch(select(literal(1))))[0][0] == 1
        assert len(connections) == 1
        await database.close()
    assert not connections


def test_an_event_loop_that_ends_during_opening_leaves_it_to_the_next(path: Path) -> None:
    database = Database(f"sqlite:///{path}")

    async def begin() -> None:
        asking = asyncio.create_task(database.fetch(select(literal(1))))
        await asyncio.sleep(0)
        assert not asking.done()

    async def ask() -> None:
        assert (await database.fetch(select(literal(1))))[0][0] == 1
        await database.close()

    asyncio.run(begin())
    asyncio.run(ask())


async def test_a_folder_is_created_after_a_first_failure(path: Path) -> None:
    path.parent.write_text("in the way")
    database = Database(f"sqlite:///{path}")
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await database.fetch(select(literal(1)))
    path.parent.unlink()
    assert (await database.fetch(select(literal(1))))[0][0] == 1
    await database.close()


@contextmanager
def open_connections() -> Iterator[set[object]]:
    """Return the open driver connections of engines created in the block."""
    found: set[object] = set()
    opened: Callable[[object, object], None] = lambda connection, _: found.add(connection)  # noqa: E731
    closed: Callable[[object, object], None] = lambda connection, _: found.discard(connection)  # noqa: E731
    event.listen(Engine, "connect", opened)
    event.listen(Engine, "close", closed)
    try:
        yield found
    finally:
        event.remove(Engine, "connect", opened)
        event.remove(Engine, "close", closed)


async def test_more_callers_than_threads_wait_and_do_not_fail(path: Path) -> None:
    database = Database(f"sqlite:///{path}", pool_size=2)
    asked = await asyncio.gather(*(database.fetch(select(literal(number))) for number in range(500)))
    assert [rows[0][0] for rows in asked] == list(range(500))
    await database.close()
    await database.close()


async def test_a_purge_is_many_transactions(store: SqlStore, clock: ManualClock) -> None:
    for _ in range(1100):
        await store.create(make_record(clock.now, expires=clock.now + 1))
    removed: list[int] = []

    def note(_: Connection, cursor: sqlite3.Cursor, statement: str, *args: object) -> None:
        if statement.startswith("DELETE"):
            removed.append(cursor.rowcount)
        if statement.startswith("BEGIN"):
            removed.append(0)

    event.listen(Engine, "after_cursor_execute", note)
    try:
        assert await store.purge(clock.now + 1) == 1100
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    assert removed == [0, 500, 0, 500, 0, 100]


async def test_a_transaction_waits_before_it_reads_and_runs_once(path: Path, stored: Record) -> None:
    """A transaction that reads first and locks later has an outdated snapshot and is repeated."""
    databases = [Database(f"sqlite:///{path}", timeout=20) for _ in range(3)]
    runs: list[int] = []

    def work(connection: Connection) -> None:
        for _ in range(20):  # gives others time to write, if they could
            (epoch,) = connection.execute(select(TABLE.c.epoch)).scalars()
        runs.append(epoch)
        connection.execute(update(TABLE).values(epoch=epoch + 1))

    await asyncio.gather(*(database.run(work) for database in databases for _ in range(50)))
    for database in databases:
        await database.close()
    assert runs == list(range(150))


async def test_after_a_slow_step_threads_do_the_work(
    store: SqlStore, stored: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_latency, "_SLOW", -1.0)
    for version in range(1, 20):
        assert await store.save(stored, expected=version) == version + 1
    assert any(thread.name.startswith("database") for thread in threading.enumerate())
    assert await store.load(stored.key) == replace(stored, version=20)


async def test_the_log_of_writes_does_not_grow_without_end(
    store: SqlStore, stored: Record, path: Path
) -> None:
    larger = replace(stored, data=bytes(10_000))
    for version in range(1, 2000):
        assert await store.save(larger, expected=version) == version + 1
    assert path.with_name("cart.db-wal").stat().st_size < 10_000_000


def filled(record: Record, number: int) -> Record:
    """Return the record with 20,000 bytes that depend on the number, since equal pages are not written."""
    return replace(record, data=bytes([number % 256]) * 20_000)


@contextmanager
def always_read(path: Path) -> Iterator[None]:
    """Keep one of several connections reading at any time, as in busy processes."""
    ended = threading.Event()

    def read() -> None:
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as one,
            closing(sqlite3.connect(path, isolation_level=None)) as other,
        ):
            for number in itertools.count():
                begins, ends = (one, other) if number % 2 else (other, one)
                begins.execute("BEGIN")
                begins.execute("SELECT count(*) FROM sqlite_schema").fetchall()
                if number:
                    ends.execute("COMMIT")
                if ended.wait(0.003):
                    return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join()


async def test_b8_log_is_bounded_with_concurrent_readers(
    store: SqlStore, stored: Record, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own checkpoints are incomplete while readers run and never restart the WAL."""
    monkeypatch.setattr(sqlite_wal, "_LOG_WAIT", 20_000)
    largest = 0
    with always_read(path):
        for version in range(1, 2000):
            assert await store.save(filled(stored, version), expected=version) == version + 1
            largest = max(largest, path.with_name("cart.db-wal").stat().st_size)
    assert 16 << 20 < largest < 24 << 20


async def test_b8_the_log_is_bounded_during_a_purge(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_wal, "_LOG_WAIT", 20_000)
    monkeypatch.setattr(sqlite_wal, "MAX_LOG", 1 << 20)
    store = SqlStore(Database(f"sqlite:///{path}", timeout=20), clock=clock)
    data = bytes(1000)
    at = clock.now
    rows = [
        {"skey": (record := make_record(at, expires=at, data=data)).key, **_row(record, 1)}
        for _ in range(10_000)
    ]
    await store.create(make_record(at))
    await store._database.run(lambda connection: connection.execute(insert(TABLE), rows))
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    largest, done = 0, asyncio.Event()

    async def look() -> None:
        nonlocal largest
        while not done.is_set():
            largest = max(largest, path.with_name("cart.db-wal").stat().st_size)
            await asyncio.sleep(0.002)

    with always_read(path):
        looking = asyncio.create_task(look())
        assert await store.purge(at) == 10_000
        done.set()
        await looking
    await store.close()
    assert largest < 8 << 20


async def test_b8_a_long_reader_does_not_delay_each_write(
    store: SqlStore, stored: Record, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store waits for it only occasionally, so the WAL grows until it has ended."""
    monkeypatch.setattr(sqlite_wal, "_LOG_WAIT", 1)
    waits: list[str] = []

    def note(sql: str) -> None:
        if "wal_checkpoint" in sql:
            waits.append(sql)

    on_connect = SQLite.on_connect

    def traced(self: SQLite, connection: sqlite3.Connection) -> None:
        on_connect(self, connection)
        connection.set_trace_callback(note)

    monkeypatch.setattr(SQLite, "on_connect", traced)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM cart_session").fetchall()
        for version in range(1, 2000):
            assert await store.save(filled(stored, version), expected=version) == version + 1
        assert path.with_name("cart.db-wal").stat().st_size > 32 << 20
    assert 1 <= len(waits) <= 10
    for version in range(2000, 3000):
        assert await store.save(filled(stored, version), expected=version) == version + 1
    assert path.with_name("cart.db-wal").stat().st_size <= 17 << 20


# -- processes killed at random -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(20, marks=pytest.mark.promise(9, backend="database-sqlite")),
        pytest.param(1000, marks=pytest.mark.soak),
    ],
)
async def test_random_kills_break_no_record_and_lose_no_answered_write(path: Path, kills: int) -> None:
    url = f"sqlite:///{path}"
    store = SqlStore(Database(url, timeout=20))
    answered = await kill_writers_at_random(store, url, kills, writers=2)
    assert sum(answered.values()) > 5 + kills, "hardly anything was written"
    await store.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
