"""The store contract, held against every store."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from cartapp.session.record import Record, Summary, tombstone_of
from cartapp.session.stores.base import Countable, Listable, Purgeable, Store

from .conftest import ManualClock
from .stores import HOUR, LISTABLE, PURGEABLE, STORES, Open, make_record
from .workers import increment

pytestmark = pytest.mark.anyio

listable = pytest.mark.parametrize("place", LISTABLE, indirect=True)
purgeable = pytest.mark.parametrize("place", PURGEABLE, indirect=True)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, clock: ManualClock) -> Open:
    return STORES[request.param](request, clock)


@pytest.fixture
async def open_store(place: Open) -> AsyncIterator[Open]:
    opened: list[Store] = []

    def open_one() -> Store:
        opened.append(place())
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Open) -> Store:
    return open_store()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now)


async def created(store: Store, record: Record) -> Record:
    """Create the record and return it as the store now has it."""
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


async def saved(store: Store, record: Record, expected: Record) -> Record:
    """Save the record over the expected one and return it as the store now has it."""
    version = await store.save(record, expected=expected.version)
    assert version not in (None, expected.version)
    return replace(record, version=version or 0)


async def listed(store: Store, user_id: str | None = None) -> list[Summary]:
    assert isinstance(store, Listable)
    return [summary async for summary in store.scan(user_id=user_id)]


async def purged(store: Store, now: int) -> int:
    assert isinstance(store, Purgeable)
    return await store.purge(now)


# -- create and load --------------------------------------------------------------------------------------


async def test_a_new_record_comes_back_as_it_went_in(store: Store, record: Record) -> None:
    stored = await created(store, record)
    assert await store.load(record.key) == stored


async def test_an_absent_record_is_none(store: Store, record: Record) -> None:
    assert await store.load(record.key) is None


@pytest.mark.promise(5)
async def test_create_leaves_a_taken_key_alone(store: Store, record: Record) -> None:
    stored = await created(store, record)
    assert await store.create(replace(record, data=b"another", user_id="eve")) is None
    assert await store.load(record.key) == stored


@pytest.mark.parametrize(
    "fields",
    [
        {"user_id": None, "epoch": 0},
        {"user_id": "", "epoch": 0},
        {"user_id": "42", "epoch": 2**40},
        {"user_id": "Zoë 🛒 \0 \r\n", "epoch": -1},
        {"data": b""},
        {"data": bytes(range(256)) * 3},
        {"data": b"END\r\n\0VALUE '\"; --"},
        {"data": b"\xff" * 65536},
    ],
    ids=lambda fields: ", ".join(f"{name} {value!r:.20}" for name, value in fields.items()),
)
async def test_fields_are_kept_exactly(store: Store, record: Record, fields: dict[str, object]) -> None:
    stored = await created(store, replace(record, **fields))
    assert await store.load(record.key) == stored


@pytest.mark.promise(5)
async def test_of_parallel_creates_exactly_one_wins(open_store: Open, record: Record) -> None:
    drafts = [replace(record, data=b"draft %d" % number) for number in range(20)]
    versions = await asyncio.gather(*(open_store().create(draft) for draft in drafts))
    winners = [replace(draft, version=v) for draft, v in zip(drafts, versions, strict=True) if v is not None]
    assert len(winners) == 1
    assert await open_store().load(record.key) == winners[0]


# -- save ---------------------------------------------------------------------------------------------------


async def test_save_replaces_the_whole_record_that_was_seen(store: Store, record: Record) -> None:
    stored = await created(store, record)
    changed = replace(
        stored, created=1, last_used=2, expires=record.expires + 3, data=b"new", user_id="7", epoch=8
    )
    changed = await saved(store, changed, expected=stored)
    assert await store.load(record.key) == changed


@pytest.mark.promise(1)
async def test_save_leaves_a_record_alone_that_was_saved_meanwhile(store: Store, record: Record) -> None:
    stored = await created(store, record)
    faster = await saved(store, replace(stored, data=b"faster"), expected=stored)
    assert await store.save(replace(stored, data=b"slower"), expected=stored.version) is None
    assert await store.load(record.key) == faster


@pytest.mark.promise(2)
async def test_save_never_creates(store: Store, record: Record) -> None:
    stored = await created(store, record)
    assert await store.delete(record.key)
    assert await store.save(stored, expected=stored.version) is None
    assert await store.load(record.key) is None


@pytest.mark.promise(2, 8)
async def test_save_never_revives_the_expired(store: Store, record: Record, clock: ManualClock) -> None:
    stored = await created(store, record)
    clock.now = record.expires
    revived = replace(stored, expires=clock.now + HOUR)
    assert await store.save(revived, expected=stored.version) is None
    assert await store.load(record.key) is None


@pytest.mark.promise(1)
async def test_a_hundred_increments_at_once_are_all_kept(open_store: Open, record: Record) -> None:
    stores = [open_store() for _ in range(4)]
    await stores[0].create(replace(record, data=b"0"))
    await asyncio.gather(*(increment(stores[number % 4], record.key) for number in range(100)))
    counted = await stores[0].load(record.key)
    assert counted is not None
    assert counted.data == b"100"


# -- touch --------------------------------------------------------------------------------------------------


async def test_touch_sets_the_two_times_and_nothing_else(store: Store, record: Record) -> None:
    stored = await created(store, replace(record, user_id="7", epoch=3))
    times = {"last_used": record.last_used + 1000, "expires": record.expires + 1000}
    assert await store.touch(record.key, expected=stored.version, **times)
    assert await store.load(record.key) == replace(stored, **times)


@pytest.mark.promise(1)
async def test_a_writer_that_loaded_before_a_touch_can_still_save(store: Store, record: Record) -> None:
    seen = await created(store, record)
    assert await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires + 1)
    written = await saved(store, replace(seen, data=b"new"), expected=seen)
    assert await store.load(record.key) == written


@pytest.mark.promise(1)
async def test_touch_leaves_a_record_alone_that_was_saved_meanwhile(store: Store, record: Record) -> None:
    seen = await created(store, record)
    faster = await saved(store, seen, expected=seen)
    assert not await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires + 1)
    assert await store.load(record.key) == faster


@pytest.mark.promise(2)
async def test_touch_does_not_prolong_a_tombstone(store: Store, record: Record) -> None:
    seen = await created(store, record)
    marker = await saved(store, replace(seen, data=b"", expires=record.created + 60_000), expected=seen)
    assert not await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
    assert await store.load(record.key) == marker


@pytest.mark.promise(2)
async def test_touch_never_creates(store: Store, record: Record) -> None:
    seen = await created(store, record)
    assert await store.delete(record.key)
    assert not await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
    assert await store.load(record.key) is None


@pytest.mark.promise(2, 8)
async def test_touch_never_revives_the_expired(store: Store, record: Record, clock: ManualClock) -> None:
    seen = await created(store, record)
    clock.now = record.expires
    later = clock.now + HOUR
    assert not await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
    assert await store.load(record.key) is None


# -- delete -------------------------------------------------------------------------------------------------


async def test_delete_says_whether_there_was_a_record(store: Store, record: Record) -> None:
    assert not await store.delete(record.key)
    await store.create(record)
    assert await store.delete(record.key)
    assert await store.load(record.key) is None
    assert not await store.delete(record.key)


async def test_delete_removes_the_record_that_was_seen(store: Store, record: Record) -> None:
    seen = await created(store, record)
    assert await store.delete(record.key, expected=seen)
    assert await store.load(record.key) is None
    assert not await store.delete(record.key, expected=seen)


async def test_delete_spares_a_record_that_was_saved_meanwhile(store: Store, record: Record) -> None:
    seen = await created(store, record)
    assert await store.save(seen, expected=seen.version) is not None
    assert not await store.delete(record.key, expected=seen)
    assert await store.load(record.key) is not None


async def test_delete_spares_a_record_that_was_touched_meanwhile(store: Store, record: Record) -> None:
    seen = await created(store, record)
    later = record.last_used + 1
    assert await store.touch(record.key, expected=seen.version, last_used=later, expires=record.expires)
    assert not await store.delete(record.key, expected=seen)
    assert await store.load(record.key) is not None


@pytest.mark.promise(2)
async def test_a_record_deleted_amid_slow_writers_stays_gone(open_store: Open, record: Record) -> None:
    seen = await created(open_store(), record)
    stores = [open_store() for _ in range(4)]
    writes = [stores[number % 4].save(seen, expected=seen.version) for number in range(25)]
    touches = [
        stores[number % 4].touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
        for number in range(25)
    ]
    await asyncio.gather(*writes, stores[0].delete(record.key), *touches)
    assert await stores[1].load(record.key) is None


# -- expiry -------------------------------------------------------------------------------------------------


@pytest.mark.promise(8)
async def test_an_expired_record_is_absent(store: Store, record: Record, clock: ManualClock) -> None:
    stored = await created(store, record)
    clock.now = record.expires - 1
    assert await store.load(record.key) == stored
    clock.now = record.expires
    assert await store.load(record.key) is None


async def test_a_touched_record_lives_longer(store: Store, record: Record, clock: ManualClock) -> None:
    seen = await created(store, record)
    later = record.expires + HOUR
    assert await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
    clock.now = later - 1
    assert await store.load(record.key) is not None


@pytest.mark.promise(12)
@purgeable
async def test_purge_removes_what_has_expired_and_counts_it(store: Store, clock: ManualClock) -> None:
    for age in range(5):
        await store.create(make_record(clock.now, expires=clock.now + 1000 * (age + 1)))
    live = await created(store, make_record(clock.now))
    clock.advance(4)
    assert isinstance(store, Countable)
    assert await store.count_expired(clock.now) == 4
    assert await purged(store, clock.now) == 4
    assert await store.count_expired(clock.now) == 0
    assert await purged(store, clock.now) == 0
    assert await store.load(live.key) == live
    clock.advance(1)
    assert await purged(store, clock.now) == 1


@pytest.mark.promise(12)
@purgeable
async def test_purge_spares_a_touched_record(store: Store, record: Record, clock: ManualClock) -> None:
    seen = await created(store, record)
    later = record.expires + HOUR
    assert await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
    clock.now = record.expires
    assert await purged(store, clock.now) == 0
    assert await store.load(record.key) is not None


# -- listing ------------------------------------------------------------------------------------------------


@listable
async def test_scan_tells_all_but_the_data(store: Store, record: Record) -> None:
    seen = await created(store, replace(record, user_id="7", data=b"12345"))
    expected = Summary(
        record.key, record.created, record.last_used, record.expires, 5, "7", version=seen.version
    )
    assert await listed(store) == [expected]


@listable
async def test_scan_lists_many(store: Store, clock: ManualClock) -> None:
    records = [make_record(clock.now) for _ in range(1200)]
    for record in records:
        assert await store.create(record) is not None
    assert sorted(summary.key for summary in await listed(store)) == sorted(r.key for r in records)


@listable
async def test_scan_filters_by_user(store: Store, clock: ManualClock) -> None:
    users = [None, "", "7", "7", "77", "Zoë"]
    for user in users:
        await store.create(make_record(clock.now, user_id=user))
    for user in ("", "7", "77", "Zoë", "nobody"):
        assert [found.user_id for found in await listed(store, user)] == [user] * users.count(user)
    assert len(await listed(store)) == len(users)


@listable
async def test_scan_leaves_out_tombstones_and_the_expired(store: Store, clock: ManualClock) -> None:
    live = make_record(clock.now)
    await store.create(live)
    await store.create(tombstone_of(make_record(clock.now), live, clock.now + HOUR))
    await store.create(tombstone_of(make_record(clock.now, user_id="7"), live, clock.now + HOUR))
    await store.create(make_record(clock.now, data=b""))
    await store.create(make_record(clock.now, expires=clock.now + 1000))
    clock.advance(1)
    assert [found.key for found in await listed(store)] == [live.key]


@listable
async def test_records_may_come_and_go_during_a_scan(store: Store, clock: ManualClock) -> None:
    records = [make_record(clock.now) for _ in range(20)]
    for record in records:
        await store.create(record)
    assert isinstance(store, Listable)
    async for found in store.scan():
        await store.delete(found.key)
        await store.create(make_record(clock.now, data=b""))
    assert await listed(store) == []


async def test_a_store_that_is_there_answers_a_ping(store: Store) -> None:
    await store.ping()


async def test_a_store_has_the_name_that_chooses_it(store: Store, request: pytest.FixtureRequest) -> None:
    assert store.name in request.node.name
