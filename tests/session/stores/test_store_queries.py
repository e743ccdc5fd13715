"""Queries and bulk deletion give the same results on each backend as a scan through Python."""

import heapq
from collections.abc import AsyncIterator, Callable
from typing import get_args

import pytest
from msgspec.structs import replace
from sqlalchemy import create_engine

from cartapp.session import Sessions
from cartapp.session.admin import (
    HandleNotFound,
    count_sessions,
    estimate,
    resolve_handle,
    statistics,
    top_sessions,
)
from cartapp.session.admin.listing import delete_many, pages
from cartapp.session.record import Record, Summary, make_tombstone, summarize
from cartapp.session.stores.base import Listable, Store
from cartapp.session.stores.queries import BulkLoadable, BulkWritable, Order, Query, Queryable, sort_key
from cartapp.session.stores.sql import queries
from cartapp.session.stores.sql.statements import TABLE_NAME, statements_for
from tests.conftest import ManualClock
from tests.support.stores import HOUR, LISTABLE, SQL, STORES, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture(params=LISTABLE)
def open_one(request: pytest.FixtureRequest, clock: ManualClock) -> Callable[[], Store]:
    return STORES[request.param](request, clock)


@pytest.fixture
async def store(open_one: Callable[[], Store]) -> AsyncIterator[Store]:
    opened = open_one()
    yield opened
    await opened.close()


@pytest.fixture
async def records(store: Store, clock: ManualClock) -> list[Record]:
    """Store sessions of different sizes, ages and users, and records that no query may find."""
    clock.advance(HOUR)
    users = (None, "ann", "bob", "Жозе", "u" * 100, None)
    records = [
        make_record(
            clock.now,
            created=clock.now - 1000 * number,
            last_used=clock.now - 7 * number,
            expires=clock.now + HOUR + number,
            user_id=users[number % len(users)],
            data=b'{"n":"%b"}' % (b"x" * (number * 37 % 211)),
        )
        for number in range(30)
    ]
    for record in records:
        assert await store.create(record) is not None
    await store.create(make_tombstone(make_record(clock.now), records[0], clock.now + HOUR))
    await store.create(make_record(clock.now, expires=clock.now + 1000, user_id="ann"))
    clock.advance(1000)
    return records


def info(records: list[Record], order: Order, limit: int) -> list[str]:
    return [found.key for found in heapq.nsmallest(limit, map(summarize, records), sort_key(order))]


@pytest.mark.parametrize("order", get_args(Order))
async def test_top_sessions(store: Store, records: list[Record], order: Order) -> None:
    sessions = Sessions(store)
    for limit in (1, 8, 100):
        first, total = await top_sessions(sessions, limit, order)
        assert total == len(records)
        assert [one.handle for one in first] == info(records, order, limit)
    of_ann, number = await top_sessions(sessions, 2, order, "ann")
    assert ({one.user for one in of_ann}, number) == ({"ann"}, 5)
    assert await top_sessions(sessions, 2, order, "an") == ([], 0)


async def test_count_by_each_condition(store: Store, records: list[Record]) -> None:
    sessions, middle = Sessions(store), records[10].last_used
    assert await count_sessions(sessions, Query()) == 30
    assert await count_sessions(sessions, Query("Жозе")) == 5
    assert await count_sessions(sessions, Query("u" * 100)) == 5
    assert await count_sessions(sessions, Query(used_before=middle)) == 19
    assert await count_sessions(sessions, Query(used_since=middle)) == 11
    assert await count_sessions(sessions, Query(created_since=records[4].created)) == 5
    assert await count_sessions(sessions, Query("ann", used_before=middle)) == 3
    assert await count_sessions(sessions, Query(prefix=records[3].key[:9])) == 1


async def test_statistics(store: Store, records: list[Record]) -> None:
    found = await statistics(Sessions(store))
    assert (found.sessions, found.users, found.guests) == (30, 4, 10)
    assert found.bytes_total == sum(len(record.data) for record in records)
    assert found.bytes_largest == max(len(record.data) for record in records)
    times = (found.oldest, found.newest, found.longest_idle, found.last_used)
    seconds = [round(time.timestamp() * 1000) for time in times if time is not None]
    created, used = ([getattr(one, name) for one in records] for name in ("created", "last_used"))
    assert seconds == [min(created), max(created), min(used), max(used)]


async def test_user_ids_are_compared_exactly(store: Store, clock: ManualClock) -> None:
    """By case, accents and trailing spaces, which many collations ignore."""
    users = ["A", "a", "ä", "Ä", "Á", "A ", " A", "ß", "ss", "Жозе", "жозе"]
    for user in users:
        assert await store.create(make_record(clock.now, user_id=user)) is not None
    sessions = Sessions(store)
    assert (await statistics(sessions)).users == len(users)
    for user in users:
        assert await count_sessions(sessions, Query(user)) == 1
        found, total = await top_sessions(sessions, 1, "last_seen", user)
        assert ([one.user for one in found], total) == ([user], 1)
    found, _ = await top_sessions(sessions, 100, "user")
    assert [one.user for one in found] == sorted(users)


async def test_statistics_of_an_empty_store(store: Store) -> None:
    found = await statistics(Sessions(store))
    assert (found.sessions, found.users, found.bytes_mean, found.oldest) == (0, 0, 0, None)
    assert await top_sessions(Sessions(store), 5, "last_seen") == ([], 0)


async def test_handles_by_prefix(store: Store, records: list[Record], clock: ManualClock) -> None:
    sessions = Sessions(store, clock=clock)
    for record in records[:5]:
        assert (await resolve_handle(sessions, record.key[:12])).handle == record.key
    for prefix in ("%", "*", "no such", "?" * 5, "-" * 22, "_" * 21):
        with pytest.raises(HandleNotFound):
            await resolve_handle(sessions, prefix)


@pytest.mark.parametrize("length", [1, 2, 3, 21, 22])
async def test_pages_by_prefix(store: Store, records: list[Record], length: int) -> None:
    for record in records[:7]:
        prefix = record.key[:length]
        found = await listed(store, Query(prefix=prefix))
        expected = sorted(one.key for one in records if one.key.startswith(prefix))
        assert sorted({one.key for one in found}) == expected


async def listed(store: Store, query: Query) -> list[Summary]:
    return [found async for page in pages(store, query) for found in page]


async def test_pages_equal_a_scan(store: Store, records: list[Record]) -> None:
    assert isinstance(store, Listable)
    scanned = {found.key: found async for found in store.scan()}
    assert {found.key: found for found in await listed(store, Query())} == scanned
    assert {replace(found, version=0) for found in scanned.values()} == set(map(summarize, records))


async def test_estimate_is_no_less_than_the_sessions(store: Store, records: list[Record]) -> None:
    assert store.name in ("file", "memory", "memcached") or (await estimate(Sessions(store)) or 0) >= len(
        records
    )


async def test_delete_many_keeps_changed_records(store: Store, records: list[Record]) -> None:
    seen = await listed(store, Query())
    used, changed, gone = seen[3], seen[20], seen[29]
    assert await store.touch(used.key, expected=used.version, last_used=1, expires=used.expires)
    record = await store.load(changed.key)
    assert record is not None
    assert await store.save(record, expected=record.version) is not None
    assert await store.delete(gone.key)
    number, remaining = await delete_many(store, seen)
    assert number == 27
    assert {used.key, changed.key} <= set(remaining)
    assert {found.key for found in await listed(store, Query())} == {used.key, changed.key}


async def test_load_many_equals_load(store: Store, records: list[Record], clock: ManualClock) -> None:
    if not isinstance(store, BulkLoadable):
        assert not store.name.startswith("database")
        return
    keys = [record.key for record in records]
    expired = make_record(clock.now, expires=clock.now + 1)
    await store.create(expired)
    clock.advance(1)
    found = await store.load_many([*keys, expired.key, make_record(clock.now).key])
    assert found == {key: await store.load(key) for key in keys}


@pytest.mark.parametrize("name", SQL)
def test_sql_stores_answer_queries_themselves(
    name: str, request: pytest.FixtureRequest, clock: ManualClock
) -> None:
    assert isinstance(STORES[name](request, clock)(), Queryable)


def test_sqlite_reads_rows_of_a_table_scan_without_the_index_of_expiries() -> None:
    """Fetching each live row through the index takes twelve times as long."""
    engine = create_engine("sqlite://", paramstyle="named")
    table = statements_for(TABLE_NAME).table
    table.create(engine)
    every = Query()
    statements = (
        queries.top(table, every, "size", 50),
        queries.count(table, every),
        queries.totals(table, every),
    )
    with engine.connect() as connection:
        for statement in statements:
            sql = statement.compile(engine)
            plan = connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {sql}", sql.construct_params({"at": 1})
            ).all()
            assert "SCAN cart_session" in {row.detail for row in plan}
    engine.dispose()


async def test_bulk_writes_are_those_of_single_records(store: Store, clock: ManualClock) -> None:
    if not isinstance(store, BulkWritable):
        pytest.skip("writes single records")
    new = [make_record(clock.now, user_id=user) for user in (None, "ann", "bob")]
    versions = await store.create_many(new)
    assert None not in versions
    for record, version in zip(new, versions, strict=True):
        assert await store.load(record.key) == replace(record, version=version or 0)
    assert await count_sessions(Sessions(store), Query("ann")) == 1
    added = make_record(clock.now)
    first, second = await store.create_many([replace(new[0], data=b"{}"), added])
    assert (first, await store.load(new[0].key)) == (None, replace(new[0], version=versions[0] or 0))
    assert second is not None
    changed = [
        replace(record, data=b"{1}", version=version or 0)
        for record, version in zip(new, versions, strict=True)
    ]
    outdated = replace(added, data=b"{2}", version=b"?" if isinstance(second, bytes) else 12345)
    saved = await store.save_many([*changed, outdated])
    assert saved[3] is None
    for record, version in zip(changed, saved, strict=False):
        assert version is not None
        assert await store.load(record.key) == replace(record, version=version)
    found = await store.load(added.key)
    assert found is not None
    assert found.data == added.data
    again = [
        replace(record, data=b"{3}", version=version or 0)
        for record, version in zip(changed, saved, strict=False)
    ]
    assert None not in await store.save_many(again)
