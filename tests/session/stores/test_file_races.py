"""The file store under concurrent tasks, threads and processes."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, now
from cartapp.session.stores.file import shard
from cartapp.session.stores.file.store import FileStore
from tests.conftest import ManualClock
from tests.support.polling import DEADLINE, wait_until_saved
from tests.support.process_kills import kill_writers_at_random
from tests.support.store_workers import ended, increment_many, write_until_gone
from tests.support.stores import file_of, files_in, make_record
from tests.support.workers import started

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "sessions"


@pytest.fixture
async def store(folder: Path, clock: ManualClock) -> AsyncIterator[FileStore]:
    store = FileStore(folder, clock=clock)
    yield store
    await store.close()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now)


@pytest.fixture
async def stored(store: FileStore, record: Record) -> Record:
    assert await store.create(record) == 1
    return replace(record, version=1)


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a shard, as another process would."""
    descriptor = os.open(path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


# -- locks, threads and processes ---------------------------------------------------------------------------


async def test_only_the_writer_waits_for_a_lock(store: FileStore, folder: Path, stored: Record) -> None:
    with held_lock(file_of(folder, stored).parent):
        saving = asyncio.create_task(store.save(stored, expected=1))
        await store.ping()
        assert await store.load(stored.key) == stored
        assert not saving.done()
    assert await saving == 2


async def test_a_lock_held_forever_makes_the_store_unavailable(
    store: FileStore, folder: Path, stored: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "LOCK_TIMEOUT", 0.01)
    with held_lock(file_of(folder, stored).parent), pytest.raises(StoreUnavailable, match="give back"):
        async with asyncio.timeout(DEADLINE):
            await store.save(stored, expected=1)
    assert await store.save(stored, expected=1) == 2


async def test_a_lock_is_released_despite_a_forked_descriptor(
    store: FileStore, folder: Path, stored: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "LOCK_TIMEOUT", 0.01)
    with shard.LockedShard(file_of(folder, stored).parent) as locked:
        inherited = os.dup(locked.folder)  # shares the lock, like a descriptor in a forked process
    assert await store.save(stored, expected=1) == 2
    os.close(inherited)


async def test_a_cancelled_write_is_finished_or_not_begun(
    store: FileStore, folder: Path, stored: Record, clock: ManualClock
) -> None:
    with held_lock(file_of(folder, stored).parent):
        begun = asyncio.create_task(store.save(stored, expected=1))
        await store.ping()
        saving = [begun, *(asyncio.create_task(store.save(stored, expected=1)) for _ in range(20))]
        await asyncio.sleep(0)
        for task in saving:
            task.cancel()
        await asyncio.wait(saving)
    assert all(task.cancelled() for task in saving)
    await store.close()
    afterwards = FileStore(folder, clock=clock)
    assert await afterwards.load(stored.key) == replace(stored, version=2)
    assert files_in(folder) == [file_of(folder, stored)]
    await afterwards.close()


@pytest.mark.promise(1, backend="file")
async def test_increments_of_four_processes_are_all_kept(folder: Path) -> None:
    store = FileStore(folder)
    record = make_record(now(), data=b"0")
    await store.create(record)
    workers = [started(increment_many, folder.as_uri(), record.key, 100) for _ in range(4)]
    assert await ended(workers) == [0] * 4
    counted = await store.load(record.key)
    assert counted is not None
    assert (counted.data, counted.version) == (b"400", 401)
    await store.close()


@pytest.mark.promise(2, backend="file")
async def test_record_deleted_under_concurrent_writers_stays_deleted(folder: Path) -> None:
    store = FileStore(folder)
    records = [make_record(now()) for _ in range(30)]
    for record in records:
        await store.create(record)
    keys = [record.key for record in records]
    workers = [started(write_until_gone, folder.as_uri(), keys) for _ in range(3)]
    for record in records:
        await wait_until_saved(store, record.key, 20)  # the other processes are writing
        assert await store.delete(record.key)
    assert await ended(workers) == [0] * 3
    assert files_in(folder) == []
    await store.close()


async def test_a_writer_that_waited_in_a_removed_folder_uses_the_new_one(
    store: FileStore, folder: Path, stored: Record
) -> None:
    with held_lock(file_of(folder, stored).parent):
        creating = asyncio.create_task(store.create(stored))
        await store.ping()  # by now the previous task has probably reached the lock
        shutil.rmtree(file_of(folder, stored).parent)
    assert await creating == 1
    assert await store.load(stored.key) == stored


# -- processes killed at random -----------------------------------------------------------------------------


@pytest.mark.soak
async def test_a_thousand_random_kills_break_no_record_and_lose_no_answered_write(folder: Path) -> None:
    store = FileStore(folder)
    answered = await kill_writers_at_random(store, folder.as_uri(), 1000, writers=3)
    assert min(answered.values()) > 1000, "hardly anything was written"
    assert await store.purge(0) == 0
    assert len(files_in(folder)) == len(answered)
    await store.close()
