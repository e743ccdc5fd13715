"""The tests of the store contract, as classes for pytest. A subclass provides `store_factory`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from ...record import Record, Summary, make_tombstone
from ...stores.base import Countable, Listable, Purgeable, Store
from ..clock import ManualClock
from ..records import HOUR, increment, make_record

F = TypeVar("F", bound=Callable[..., Any])
StoreFactory = Callable[[], Store]
"""Opens a store; the stores of several calls share their records, as those of several processes do."""


def promises(*numbers: int) -> Callable[[F], F]:
    """Note the promises of the session layer that a test verifies."""

    def note(test: F) -> F:
        test.promises = numbers  # type: ignore[attr-defined]
        return test

    return note


async def created(store: Store, record: Record) -> Record:
    """Create the record and return it as stored."""
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


async def saved(store: Store, record: Record, expected: Record) -> Record:
    """Save the record over the expected one and return it as stored."""
    version = await store.save(record, expected=expected.version)
    assert version not in (None, expected.version)
    return replace(record, version=version or 0)


async def listed(store: Store, user_id: str | None = None) -> list[Summary]:
    """Return all summaries of a listing."""
    assert isinstance(store, Listable)
    return [summary async for summary in store.scan(user_id=user_id)]


async def purged(store: Store, now: int) -> int:
    """Purge, and return the number of removed records."""
    assert isinstance(store, Purgeable)
    return await store.purge(now)


class ContractFixtures:
    """Fixtures of the contract. Override `store_factory`, and `anyio_backend` for another event loop."""

    pytestmark: pytest.MarkDecorator = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Return the backend of anyio's pytest plugin, which runs the tests."""
        return "asyncio"

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock to pass to the store."""
        return ManualClock()

    @pytest.fixture
    def store_factory(self, clock: ManualClock) -> StoreFactory:
        """Return a function that opens a store, empty at the start of the test, with this clock."""
        raise NotImplementedError("Override the fixture store_factory.")

    @pytest.fixture
    async def open_store(self, store_factory: StoreFactory) -> AsyncIterator[StoreFactory]:
        """Yield a function that opens a store which is closed after the test."""
        opened: list[Store] = []

        def open_one() -> Store:
            opened.append(store_factory())
            return opened[-1]

        yield open_one
        for store in opened:
            await store.close()

    @pytest.fixture
    async def store(self, open_store: StoreFactory) -> Store:
        """Return an open store."""
        return open_store()

    @pytest.fixture
    def record(self, clock: ManualClock) -> Record:
        """Return the record of a new session."""
        return make_record(clock())


class StoreContract(ContractFixtures):
    """The contract of every store; see `Store`."""

    async def test_load_returns_a_new_record_unchanged(self, store: Store, record: Record) -> None:
        stored = await created(store, record)
        assert await store.load(record.key) == stored

    async def test_an_absent_record_is_none(self, store: Store, record: Record) -> None:
        assert await store.load(record.key) is None

    @promises(5)
    async def test_create_never_replaces_a_record(self, store: Store, record: Record) -> None:
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
    async def test_fields_are_kept_exactly(
        self, store: Store, record: Record, fields: dict[str, object]
    ) -> None:
        stored = await created(store, replace(record, **fields))
        assert await store.load(record.key) == stored

    @promises(5)
    async def test_one_of_several_concurrent_creates_wins(
        self, open_store: StoreFactory, record: Record
    ) -> None:
        drafts = [replace(record, data=b"draft %d" % number) for number in range(20)]
        versions = await asyncio.gather(*(open_store().create(draft) for draft in drafts))
        winners = [
            replace(draft, version=v) for draft, v in zip(drafts, versions, strict=True) if v is not None
        ]
        assert len(winners) == 1
        assert await open_store().load(record.key) == winners[0]

    async def test_save_replaces_the_whole_record(self, store: Store, record: Record) -> None:
        stored = await created(store, record)
        changed = replace(
            stored, created=1, last_used=2, expires=record.expires + 3, data=b"new", user_id="7", epoch=8
        )
        changed = await saved(store, changed, expected=stored)
        assert await store.load(record.key) == changed

    @promises(1)
    async def test_save_with_an_old_version_changes_nothing(self, store: Store, record: Record) -> None:
        stored = await created(store, record)
        faster = await saved(store, replace(stored, data=b"faster"), expected=stored)
        assert await store.save(replace(stored, data=b"slower"), expected=stored.version) is None
        assert await store.load(record.key) == faster

    @promises(2)
    async def test_save_never_creates(self, store: Store, record: Record) -> None:
        stored = await created(store, record)
        assert await store.delete(record.key)
        assert await store.save(stored, expected=stored.version) is None
        assert await store.load(record.key) is None

    @promises(2, 8)
    async def test_save_never_revives_an_expired_record(
        self, store: Store, record: Record, clock: ManualClock
    ) -> None:
        stored = await created(store, record)
        clock.now = record.expires
        revived = replace(stored, expires=clock.now + HOUR)
        assert await store.save(revived, expected=stored.version) is None
        assert await store.load(record.key) is None

    @promises(1)
    async def test_concurrent_increments_are_all_kept(self, open_store: StoreFactory, record: Record) -> None:
        stores = [open_store() for _ in range(4)]
        await stores[0].create(replace(record, data=b"0"))
        await asyncio.gather(*(increment(stores[number % 4], record.key) for number in range(40)))
        counted = await stores[0].load(record.key)
        assert counted is not None
        assert counted.data == b"40"

    async def test_touch_changes_only_the_two_times(self, store: Store, record: Record) -> None:
        stored = await created(store, replace(record, user_id="7", epoch=3))
        times = {"last_used": record.last_used + 1000, "expires": record.expires + 1000}
        assert await store.touch(record.key, expected=stored.version, **times)
        assert await store.load(record.key) == replace(stored, **times)

    @promises(1)
    async def test_touch_keeps_the_version(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        assert await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires + 1)
        written = await saved(store, replace(seen, data=b"new"), expected=seen)
        assert await store.load(record.key) == written

    @promises(1)
    async def test_touch_with_an_old_version_changes_nothing(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        faster = await saved(store, seen, expected=seen)
        assert not await store.touch(
            record.key, expected=seen.version, last_used=1, expires=record.expires + 1
        )
        assert await store.load(record.key) == faster

    @promises(2)
    async def test_touch_does_not_prolong_a_tombstone(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        marker = await saved(store, replace(seen, data=b"", expires=record.created + 60_000), expected=seen)
        assert not await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
        assert await store.load(record.key) == marker

    @promises(2)
    async def test_touch_never_creates(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        assert await store.delete(record.key)
        assert not await store.touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
        assert await store.load(record.key) is None

    @promises(2, 8)
    async def test_touch_never_revives_an_expired_record(
        self, store: Store, record: Record, clock: ManualClock
    ) -> None:
        seen = await created(store, record)
        clock.now = record.expires
        later = clock.now + HOUR
        assert not await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
        assert await store.load(record.key) is None

    async def test_delete_returns_whether_there_was_a_record(self, store: Store, record: Record) -> None:
        assert not await store.delete(record.key)
        await store.create(record)
        assert await store.delete(record.key)
        assert await store.load(record.key) is None
        assert not await store.delete(record.key)

    async def test_delete_removes_the_expected_record(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        assert await store.delete(record.key, expected=seen)
        assert await store.load(record.key) is None
        assert not await store.delete(record.key, expected=seen)

    async def test_delete_keeps_a_record_of_another_version(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        assert await store.save(seen, expected=seen.version) is not None
        assert not await store.delete(record.key, expected=seen)
        assert await store.load(record.key) is not None

    async def test_delete_keeps_a_record_with_another_last_use(self, store: Store, record: Record) -> None:
        seen = await created(store, record)
        later = record.last_used + 1
        assert await store.touch(record.key, expected=seen.version, last_used=later, expires=record.expires)
        assert not await store.delete(record.key, expected=seen)
        assert await store.load(record.key) is not None

    @promises(2)
    async def test_concurrent_writes_never_revive_a_deleted_record(
        self, open_store: StoreFactory, record: Record
    ) -> None:
        seen = await created(open_store(), record)
        stores = [open_store() for _ in range(4)]
        writes = [stores[number % 4].save(seen, expected=seen.version) for number in range(25)]
        touches = [
            stores[number % 4].touch(record.key, expected=seen.version, last_used=1, expires=record.expires)
            for number in range(25)
        ]
        await asyncio.gather(*writes, stores[0].delete(record.key), *touches)
        assert await stores[1].load(record.key) is None

    @promises(8)
    async def test_an_expired_record_is_absent(
        self, store: Store, record: Record, clock: ManualClock
    ) -> None:
        stored = await created(store, record)
        clock.now = record.expires - 1
        assert await store.load(record.key) == stored
        clock.now = record.expires
        assert await store.load(record.key) is None

    async def test_a_touched_record_lives_longer(
        self, store: Store, record: Record, clock: ManualClock
    ) -> None:
        seen = await created(store, record)
        later = record.expires + HOUR
        assert await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
        clock.now = later - 1
        assert await store.load(record.key) is not None

    async def test_ping(self, store: Store) -> None:
        await store.ping()
        assert isinstance(store.name, str)


class ListableStoreContract(ContractFixtures):
    """The contract of a store that can list its sessions; see `Listable`."""

    async def test_scan_returns_everything_except_data(self, store: Store, record: Record) -> None:
        seen = await created(store, replace(record, user_id="7", data=b"12345"))
        expected = Summary(
            record.key, record.created, record.last_used, record.expires, 5, "7", version=seen.version
        )
        assert await listed(store) == [expected]

    async def test_scan_lists_many(self, store: Store, clock: ManualClock) -> None:
        records = [make_record(clock.now) for _ in range(1200)]
        for record in records:
            assert await store.create(record) is not None
        assert sorted(summary.key for summary in await listed(store)) == sorted(r.key for r in records)

    async def test_scan_filters_by_user(self, store: Store, clock: ManualClock) -> None:
        users = [None, "", "7", "7", "77", "Zoë"]
        for user in users:
            await store.create(make_record(clock.now, user_id=user))
        for user in ("", "7", "77", "Zoë", "unknown"):
            assert [found.user_id for found in await listed(store, user)] == [user] * users.count(user)
        assert len(await listed(store)) == len(users)

    async def test_scan_omits_tombstones_and_expired_records(self, store: Store, clock: ManualClock) -> None:
        live = make_record(clock.now)
        await store.create(live)
        await store.create(make_tombstone(make_record(clock.now), live, clock.now + HOUR))
        await store.create(make_tombstone(make_record(clock.now, user_id="7"), live, clock.now + HOUR))
        await store.create(make_record(clock.now, data=b""))
        await store.create(make_record(clock.now, expires=clock.now + 1000))
        clock.advance(1)
        assert [found.key for found in await listed(store)] == [live.key]

    async def test_records_may_change_during_a_scan(self, store: Store, clock: ManualClock) -> None:
        records = [make_record(clock.now) for _ in range(20)]
        for record in records:
            await store.create(record)
        assert isinstance(store, Listable)
        async for found in store.scan():
            await store.delete(found.key)
            await store.create(make_record(clock.now, data=b""))
        assert await listed(store) == []


class PurgeableStoreContract(ContractFixtures):
    """The contract of a store that does not remove expired records by itself; see `Purgeable`."""

    @promises(12)
    async def test_purge_removes_and_counts_expired_records(self, store: Store, clock: ManualClock) -> None:
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

    @promises(12)
    async def test_purge_keeps_a_touched_record(
        self, store: Store, record: Record, clock: ManualClock
    ) -> None:
        seen = await created(store, record)
        later = record.expires + HOUR
        assert await store.touch(record.key, expected=seen.version, last_used=clock.now, expires=later)
        clock.now = record.expires
        assert await purged(store, clock.now) == 0
        assert await store.load(record.key) is not None
