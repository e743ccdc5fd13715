"""Functions that tests run in other processes, on the store of any URL."""

import asyncio
import random
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from msgspec.structs import replace

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.admin.sweeper import Sweeper
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, key_from_id, new_id, now
from cartapp.session.stores.base import Purgeable, Store
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from tests.support import workers
from tests.support.polling import DEADLINE
from tests.support.workers import increment, numbered, processes

processes.set_forkserver_preload([workers.__name__, __name__])

_HOUR = 3_600_000  # milliseconds


async def ended(workers: Sequence[BaseProcess]) -> list[int | None]:
    """Wait for the processes; return their exit codes."""
    for worker in workers:
        await asyncio.to_thread(worker.join, DEADLINE)
    return [worker.exitcode for worker in workers]


def create_one(url: str, start: Connection) -> None:
    """Wait for a message, then create one record in a new store."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        at = now()
        key = key_from_id(new_id())
        start.send("ready")
        start.recv()
        assert await store.create(Record(key, at, at, at + 60_000, b"{}")) is not None
        assert await store.load(key) is not None
        await store.close()

    asyncio.run(run())


def increment_many(url: str, key: str, times: int) -> None:
    """Increment a record repeatedly, with a long timeout: all processes contend for one row."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        for _ in range(times):
            await increment(store, key)
        await store.close()

    asyncio.run(run())


def write_until_gone(url: str, keys: list[str]) -> None:
    """Save and touch each record in turn until it is deleted."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        for key in keys:
            while (seen := await store.load(key)) is not None:
                version = await store.save(seen, expected=seen.version)
                if version is not None:
                    times = {"last_used": seen.last_used + 1, "expires": seen.expires + 1}
                    await store.touch(key, expected=version, **times)
        await store.close()

    asyncio.run(run())


def purge_all(url: str, at: int, removed: Connection) -> None:
    """Purge, and send the number of records removed."""

    async def run() -> None:
        store = SqlStore(Database(url, timeout=20))
        removed.send(await store.purge(at))
        await store.close()

    asyncio.run(run())


def sweep_forever(url: str, pipe: Connection) -> None:
    """Sweep repeatedly, and send a message before each purge."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        assert isinstance(store, Purgeable)
        purge = store.purge

        async def announced_purge(now: int) -> int:
            pipe.send("sweeps")
            return await purge(now)

        store.purge = announced_purge  # type: ignore[method-assign]
        pipe.send("ready")
        await Sweeper(store, every=0.01).run()

    asyncio.run(run())


async def write_once(store: Store, key: str) -> int | None:
    """Save a record with the data of its next version; return the version, or None on a conflict."""
    seen = await store.load(key)
    assert seen is not None
    assert seen.data == numbered(int(seen.version) - 1), "a torn record"
    version = await store.save(replace(seen, data=numbered(int(seen.version))), expected=seen.version)
    return None if version is None else int(version)


def write_forever(url: str, keys: list[str], pipe: Connection) -> None:
    """Save and touch random records, and send the key and version of each confirmed save."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        while True:
            key = random.choice(keys)
            version = await write_once(store, key)
            if version is not None:
                pipe.send((key, version))
                at = now()
                await store.touch(key, expected=version, last_used=at, expires=at + _HOUR)

    asyncio.run(run())


def touch_forever(url: str, keys: list[str], pipe: Connection) -> None:
    """Load and touch random records."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        pipe.send("ready")
        while True:
            seen = await store.load(random.choice(keys))
            assert seen is not None
            at = now()
            await store.touch(seen.key, expected=seen.version, last_used=at, expires=at + _HOUR)

    asyncio.run(run())


def write_under_faults(url: str, keys: list[str], pipe: Connection) -> None:
    """Save records until a message comes; then send the failures and the last version of each key."""

    async def run() -> None:
        store = open_store(url, timeout=2, pool_size=3)
        versions: dict[str, int] = {}
        failed = 0
        while not pipe.poll():
            key = random.choice(keys)
            try:
                version = await write_once(store, key)
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.01)
                continue
            if version is not None:
                versions[key] = version
        pipe.recv()
        pipe.send((failed, versions))
        await store.close()

    asyncio.run(run())


def copy_until_stopped(source_url: str, target_url: str, pipe: Connection) -> None:
    """Copy repeatedly; send a message at the first progress, and the number of copies at the end."""

    async def run() -> None:
        source, target = open_store(source_url, timeout=20), open_store(target_url, timeout=20)
        begun: list[str] = []

        def progress(_: CopyResult) -> None:
            if not begun:
                begun.append("begun")
                pipe.send("begun")

        copies = 0
        while not pipe.poll():
            await copy_sessions(source, target, progress=progress)
            copies += 1
        pipe.recv()
        pipe.send(copies)
        await source.close()
        await target.close()

    asyncio.run(run())
