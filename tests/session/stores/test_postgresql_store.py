"""The SQL store on PostgreSQL: updates create no dead index entries."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text

from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.expiry import layout
from cartapp.session.stores.sql.store import TABLE, SqlStore, table_sql
from tests.conftest import ManualClock
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT, poll_until
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio

MINUTE = 60_000
DOCS = Path(__file__).parents[3] / "docs" / "backends.md"


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return DATABASES["postgresql"](request)


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(url, timeout=STORE_TIMEOUT)
    yield database
    await database.close()


@pytest.fixture
def store(database: Database, clock: ManualClock) -> SqlStore:
    return SqlStore(database, clock=clock)


async def updates(database: Database) -> tuple[int, int]:
    """Return the number of updated rows, and of those without a new index entry (HOT)."""

    def ask(connection: Connection) -> tuple[int, int]:
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        row = connection.execute(
            text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'cart_session'")
        ).one()
        return row[0], row[1]

    return await database.read(ask)


def indexes(connection: Connection) -> set[str]:
    found = connection.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'cart_session'"))
    return set(found.scalars())


async def test_b9_updates_are_hot(store: SqlStore, database: Database, clock: ManualClock) -> None:
    records = [make_record(clock.now, data=bytes(300)) for _ in range(50)]
    for record in records:
        await store.create(record)
    for version in range(1, 21):
        clock.now += 1000
        for record in records:
            changed = replace(record, last_used=clock.now, expires=clock.now + HOUR)
            assert await store.save(changed, expected=version) == version + 1

    async def is_counted() -> bool:
        return (await updates(database))[0] == 1000

    await poll_until(is_counted)
    _, hot = await updates(database)
    assert hot > 800


async def test_b9_a_purge_removes_only_expired_records(store: SqlStore, clock: ManualClock) -> None:
    """Rows of one expiry step, in several batches."""
    at = clock.now
    expiries = [at + offset for offset in range(-30 * MINUTE, 30 * MINUTE, 2 * 1000)]
    records = [make_record(at - HOUR, expires=expires) for expires in expiries]
    for record in records:
        await store.create(record)
    expired = [record for record in records if record.expires <= at]
    assert len(expired) > 500
    assert await store.count_expired(at) == len(expired)
    assert await store.purge(at) == len(expired)
    assert await store.count_expired(at) == 0
    left = {found.key async for found in store.scan()}
    assert left == {record.key for record in records if record.expires > at}


async def test_b9_a_table_of_an_older_version_works_and_is_brought_up_to_date(
    store: SqlStore, database: Database, clock: ManualClock
) -> None:
    async def use() -> None:
        record, expired = make_record(clock.now), make_record(clock.now, expires=clock.now)
        assert await store.create(record) == 1
        assert await store.create(expired) == 1
        assert await store.save(record, expected=1) == 2
        assert await store.count_expired(clock.now) == 1
        assert await store.purge(clock.now) == 1
        assert await store.load(record.key) == replace(record, version=2)

    await database.run(TABLE.create)
    assert "cart_session_expires" in await database.read(indexes)
    await use()
    for _ in range(2):
        await store.create_table()
        await use()
    assert await database.read(indexes) == {
        "cart_session_pkey",
        "cart_session_user",
        "cart_session_expires_step",
    }


async def test_b9_statements_of_an_older_version_keep_working(
    store: SqlStore, database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in processes of an earlier version during a rolling update."""

    def has_no_steps(*_: Any) -> bool:
        return False

    await store.create(make_record(clock.now, expires=clock.now))
    monkeypatch.setattr("cartapp.session.stores.sql.store.has_expiry_step", has_no_steps)
    assert await store.count_expired(clock.now) == 1
    assert await store.purge(clock.now) == 1


def test_b9_the_sql_for_a_dba_creates_the_same_table() -> None:
    written = table_sql("postgresql://localhost/cart")
    assert written.startswith("CREATE TABLE cart_session (")
    assert written.endswith(f";\n{layout(TABLE, 'postgresql')};\n")
    assert "CREATE INDEX cart_session_user ON" in table_sql("sqlite:///cart.db")


def test_b9_the_documentation_has_the_statement_for_a_table_of_an_older_version() -> None:
    assert f"{layout(TABLE, 'postgresql')};" in DOCS.read_text()
