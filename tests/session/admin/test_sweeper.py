"""The sweeper removes expired sessions only, and survives outages."""

import asyncio
import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.admin.sweeper import Sweeper
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import now
from cartapp.session.stores.file.store import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from tests.conftest import ManualClock
from tests.support.polling import poll_until
from tests.support.shop import running_app as started_shop
from tests.support.store_workers import sweep_forever
from tests.support.stores import HOUR, files_in, make_record
from tests.support.workers import answer, piped

pytestmark = pytest.mark.anyio

SHORTLY = 0.001  # seconds between two purges
SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
DEADLINE = 20  # seconds before a test fails


class Watched:
    """A store that counts purges and fails the first ones."""

    def __init__(self, store: MemoryStore | SqlStore, failures: int = 0) -> None:
        self._store = store
        self._failures = failures
        self.purges = 0
        self.purged = asyncio.Event()

    async def purge(self, now: int) -> int:
        self.purges += 1
        self._failures -= 1
        if self._failures >= 0:
            raise StoreUnavailable("The store is having a rest.")
        removed = await self._store.purge(now)
        self.purged.set()
        return removed

    async def next(self) -> None:
        """Wait for the start of the next purge."""
        for _ in range(2):
            self.purged.clear()
            await asyncio.wait_for(self.purged.wait(), DEADLINE)


async def test_expired_records_are_removed_and_live_ones_kept(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Watched(memory := MemoryStore(clock=lambda: 0))
    live, short = make_record(clock.now), make_record(clock.now, expires=clock.now + 1000)
    for record in (live, short):
        await memory.create(record)
    sweeper = Sweeper(store, every=SHORTLY, clock=clock)
    sweeper.start()
    await store.next()
    assert await memory.load(short.key) is not None
    clock.advance(1)
    await store.next()
    await sweeper.stop()
    assert await memory.load(short.key) is None
    assert await memory.load(live.key) == replace(live, version=1)
    assert caplog.messages == ["Removed 1 expired sessions"]


async def test_the_log_contains_the_number_removed(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Watched(memory := MemoryStore(clock=lambda: 0), failures=1)
    await memory.create(make_record(clock.now, expires=clock.now))
    sweeper = Sweeper(store, what="log-ins", every=SHORTLY, clock=clock)
    sweeper.start()
    await store.next()
    await sweeper.stop()
    assert caplog.messages == [
        "Expired log-ins could not be removed: The store is having a rest.",
        "Removed 1 expired log-ins",
    ]


async def test_a_failed_purge_is_logged_and_retried(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = Watched(MemoryStore(clock=clock), failures=2)
    sweeper = Sweeper(store, every=SHORTLY, clock=clock)
    sweeper.start()
    await store.next()
    await sweeper.stop()
    assert caplog.messages == ["Expired sessions could not be removed: The store is having a rest."] * 2


async def test_after_stop_nothing_is_purged_until_start(clock: ManualClock) -> None:
    store = Watched(MemoryStore(clock=clock))
    sweeper = Sweeper(store, every=SHORTLY, clock=clock)
    await sweeper.stop()
    sweeper.start()
    sweeper.start()
    await store.next()
    await sweeper.stop()
    await sweeper.stop()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "sweeper of sessions"] == []
    sweeper.start()
    await store.next()
    await sweeper.stop()


async def test_pauses_vary(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses, sleep = [], asyncio.sleep

    async def shortened(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    store = Watched(MemoryStore(clock=clock))
    sweeper = Sweeper(store, every=300, clock=clock)
    monkeypatch.setattr(asyncio, "sleep", shortened)
    sweeper.start()
    for _ in range(50):
        await store.next()
    await sweeper.stop()
    assert all(150 <= pause <= 450 for pause in pauses)
    assert len(set(pauses)) == len(pauses)
    assert max(pauses) > 350
    assert min(pauses) < 250


async def test_a_bug_in_a_store_is_raised_by_stop(clock: ManualClock) -> None:
    class Wrong:
        async def purge(self, now: int) -> int:
            raise LookupError("a mistake")

    sweeper = Sweeper(Wrong(), every=SHORTLY, clock=clock)
    sweeper.start()
    await asyncio.wait(
        [task for task in asyncio.all_tasks() if task.get_name() == "sweeper of sessions"], timeout=DEADLINE
    )
    with pytest.raises(LookupError):
        await sweeper.stop()


async def test_several_sweepers_of_one_store(clock: ManualClock, tmp_path: Path) -> None:
    """Each with its own connection, like workers."""
    url = f"sqlite:///{tmp_path}/cart.db"
    stores = [SqlStore(Database(url, timeout=DEADLINE), clock=clock) for _ in range(4)]
    live = [make_record(clock.now) for _ in range(20)]
    for record in (*live, *(make_record(clock.now, expires=clock.now + 1) for _ in range(1100))):
        await stores[0].create(record)
    clock.advance(1)
    watched = [Watched(store) for store in stores]
    sweepers = [Sweeper(store, every=SHORTLY, clock=clock) for store in watched]
    for sweeper in sweepers:
        sweeper.start()
    for store in watched:
        await store.next()
    for sweeper in sweepers:
        await sweeper.stop()
    assert sorted([found.key async for found in stores[0].scan()]) == sorted(record.key for record in live)
    assert await stores[0].purge(clock.now) == 0
    for each in stores:
        await each.close()


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
async def test_one_process_of_a_host_sweeps_until_it_ends(scheme: str, tmp_path: Path) -> None:
    url = {"file": f"file://{tmp_path}/sessions", "sqlite": f"sqlite:///{tmp_path}/cart.db"}[scheme]
    store = open_store(url)
    await store.create(make_record(now()))
    await store.close()
    first, of_first = piped(sweep_forever, url)
    assert [answer(of_first) for _ in range(2)] == ["ready", "sweeps"]
    second, of_second = piped(sweep_forever, url)
    assert answer(of_second) == "ready"
    for _ in range(20):
        assert answer(of_first) == "sweeps"
    assert not of_second.poll()
    first.kill()
    assert answer(of_second) == "sweeps"
    second.kill()


async def test_a_missing_folder_is_not_swept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "sessions"
    store = FileStore(folder)
    sweeper = Sweeper(store, every=SHORTLY)
    sweeper.start()
    await asyncio.sleep(20 * SHORTLY)
    assert not folder.exists()
    await store.create(make_record(now(), expires=now() - HOUR))
    await poll_until(lambda: _is_empty(folder))
    await sweeper.stop()
    await store.close()
    assert caplog.messages == []


async def _is_empty(folder: Path) -> bool:
    return [path.name for path in files_in(folder)] == [".sweeper"]


async def test_wrappers_expose_the_sweep_lock(tmp_path: Path) -> None:
    async with started_shop(
        session_backend="file",
        session_path=str(tmp_path / "sessions"),
        session_encrypt=True,
        secret_key=SECRET,
        metrics=True,
    ) as app:
        assert app.state.session_manager.store.sweep_lock == tmp_path / "sessions" / ".sweeper"
