"""What tests run in other processes, on the store of any URL."""

import asyncio
import random
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from msgspec.structs import replace

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, key_of, new_id, now
from cartapp.session.stores import open_store
from cartapp.session.stores.base import Purgeable, Store
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import SqlStore
from cartapp.session.sweeper import Sweeper
from cartapp.session.transfer import Copied, copy_sessions

from . import workers
from .waiting import DEADLINE
from .workers import increment, numbered, processes

processes.set_forkserver_preload([workers.__name__, __name__])

_HOUR = 3_600_000  # milliseconds


async def ended(workers: Sequence[BaseProcess]) -> list[int | None]:
    """Their exit codes."""
    for worker in workers:
        await asyncio.to_thread(worker.join, DEADLINE)
    return [worker.exitcode for worker in workers]


def create_one(url: str, start: Connection) -> None:
    """Wait for the word, then create one record on a store of its own."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        at = now()
        key = key_of(new_id())
        start.send("ready")
        start.recv()
        assert await store.create(Record(key, at, at, at + 60_000, b"{}")) is not None
        assert await store.load(key) is not None
        await store.close()

    asyncio.run(run())


def increment_many(url: str, key: str, times: int) -> None:
    """Increments by one process, on a database that may be slow when everybody wants the same row."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        for _ in range(times):
            await increment(store, key)
        await store.close()

    asyncio.run(run())


def write_until_gone(url: str, keys: list[str]) -> None:
    """Save and touch each record in turn for as long as it is there."""

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
    """Purge, and send the number of records that went."""

    async def run() -> None:
        store = SqlStore(Database(url, timeout=20))
        removed.send(await store.purge(at))
        await store.close()

    asyncio.run(run())


def sweep_forever(url: str, told: Connection) -> None:
    """Sweep again and again, and send a word before each purge."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        assert isinstance(store, Purgeable)
        purge = store.purge

        async def telling(now: int) -> int:
            told.send("sweeps")
            return await purge(now)

        store.purge = telling  # type: ignore[method-assign]
        told.send("ready")
        await Sweeper(store, every=0.01).run()

    asyncio.run(run())


async def write_once(store: Store, key: str) -> int | None:
    """Save a record with the data of its next version; the version, or None when somebody was faster."""
    seen = await store.load(key)
    assert seen is not None
    assert seen.data == numbered(int(seen.version) - 1), "half a record"
    version = await store.save(replace(seen, data=numbered(int(seen.version))), expected=seen.version)
    return None if version is None else int(version)


def write_forever(url: str, keys: list[str], answered: Connection) -> None:
    """Save and touch records at random, and send the key and version of each save that was answered."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        while True:
            key = random.choice(keys)
            version = await write_once(store, key)
            if version is not None:
                answered.send((key, version))
                at = now()
                await store.touch(key, expected=version, last_used=at, expires=at + _HOUR)

    asyncio.run(run())


def touch_forever(url: str, keys: list[str], told: Connection) -> None:
    """Load and touch records at random."""

    async def run() -> None:
        store = open_store(url, timeout=20)
        told.send("ready")
        while True:
            seen = await store.load(random.choice(keys))
            assert seen is not None
            at = now()
            await store.touch(seen.key, expected=seen.version, last_used=at, expires=at + _HOUR)

    asyncio.run(run())


def write_under_faults(url: str, keys: list[str], told: Connection) -> None:
    """Save records until told to stop; then send how many calls failed and the last version of each key."""

    async def run() -> None:
        store = open_store(url, timeout=2, pool_size=3)
        versions: dict[str, int] = {}
        failed = 0
        while not told.poll():
            key = random.choice(keys)
            try:
                version = await write_once(store, key)
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.01)
                continue
            if version is not None:
                versions[key] = version
        told.recv()
        told.send((failed, versions))
        await store.close()

    asyncio.run(run())


def copy_until_told(source_url: str, target_url: str, told: Connection) -> None:
    """Copy again and again; send a word at the first progress, and the number of copies at the end."""

    async def run() -> None:
        source, target = open_store(source_url, timeout=20), open_store(target_url, timeout=20)
        begun: list[str] = []

        def progress(_: Copied) -> None:
            if not begun:
                begun.append("begun")
                told.send("begun")

        copies = 0
        while not told.poll():
            await copy_sessions(source, target, progress=progress)
            copies += 1
        told.recv()
        told.send(copies)
        await source.close()
        await target.close()

    asyncio.run(run())
