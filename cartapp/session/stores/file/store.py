"""Sessions in files, one for each record, shared by all processes of a host."""

import asyncio
import errno
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from msgspec.structs import replace

from ...errors import StoreTimeout, StoreUnavailable, UnreadableRecord
from ...record import Clock, Record, RecordOrSummary, Summary, Version, now
from ..disk_latency import DiskLatency
from ..overview import Extent, Overview
from ..ownership import check_private
from ..per_loop import PerLoop
from ..queries import Query
from ..timeouts import SharedTimeout
from . import shard
from .headers import Headers, read_headers
from .processes import Request, read_overviews, reader_processes
from .shard import LockedShard, Shard

logger: logging.Logger = logging.getLogger("cartapp.session")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
_CHECKED_FOR = 1.0  # seconds between checks of the folder and its owner
_PUT_BACK = "put it back, or restart the application to begin with what is there"
_SAMPLE = 8  # shards that an estimate counts
_BATCH = 100  # files that one step of a scan or purge opens: a few milliseconds


class FileStore:
    """A store in a folder, created with mode 0700 on first use; its files have mode 0600.

    The folder may be a symbolic link; links inside it are not followed. A folder that another user owns or
    can write to is refused. A folder that disappears or is replaced after its first use (an unmounted
    volume) is an outage: its sessions are not absent but elsewhere.

    A file that is not a valid record (garbage, a folder, a link, a socket, another user's file) raises
    `UnreadableRecord` in `load` and is a taken key for `create`; `save` and `touch` ignore it. For the format
    and crash safety see `shard`.

    Work that may wait (for a lock, a slow disk, listing, purging) runs in the store's own threads. A thread
    finishes its operation even if the awaiting task is cancelled. Create the store in the process that uses
    it: threads do not survive a fork.
    """

    name = "file"

    def __init__(self, path: str | Path, *, clock: Clock = now, timeout: float = 2.0) -> None:
        self._base = Path(path).absolute()
        self.sweep_lock: Path | None = self._base / ".sweeper"
        self._clock = clock
        self._latency = DiskLatency()
        self._timeout = SharedTimeout(timeout)
        self._checked_until = 0.0  # time of the monotonic clock
        self._identity: tuple[int, int] | None = None  # of the folder in use
        with suppress(OSError):  # so that even an unused process notices a folder that disappears
            self._check_base()
        self._pools = PerLoop(
            partial(ThreadPoolExecutor, _THREADS, thread_name_prefix="session-files"), _end_threads
        )

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record is replaced."""
        return await self._step(self._create, record)

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        # On the event loop: a few calls on the page cache take about 20 microseconds, less than the hop to a
        # thread. `shard.MAX_BYTES` bounds it.
        try:
            return self._load(key)
        except UnreadableRecord:
            return await self._run_limited(self._load_locked, key)  # two writes may have overlapped the read
        except OSError as error:
            raise self._unavailable(error) from error

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as missing."""
        return await self._step(self._save, record, expected)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as missing."""
        return await self._step(self._touch, key, expected, last_used, expires)

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`. Without `expected` it removes garbage, links and sockets too, but no folder."""
        return await self._step(self._delete, key, expected)

    async def ping(self) -> None:
        """Write a byte into the folder, created if missing. Raises `StoreUnavailable`."""
        await self._run_limited(self._write_probe_file)

    async def close(self) -> None:
        """Wait for running operations of this event loop and end its threads."""
        await self._pools.close()

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record is logged."""
        async for page in self.pages(Query(user_id)):
            for found in page:
                yield found

    async def pages(self, query: Query) -> AsyncIterator[Sequence[Summary]]:
        """See `Pageable.pages`. With a prefix it reads only the shards and files with it."""
        for name in shard.names(query.prefix):
            files = await self._run(self._file_names, name)
            if query.prefix:
                files = [file for file in files if shard.key_from_name(file).startswith(query.prefix)]
            for batch in _batches(files):
                found = await self._run(self._headers, name, batch)
                _log_unreadable(found)
                yield list(filter(query.matches, found.summaries))

    async def overviews(self, query: Query, extent: Extent) -> AsyncIterator[Overview]:
        """See `Partitioned.overviews`; an overview for each shard.

        Of many sessions, as many processes as there are processors read the headers.
        """
        names = shard.names(query.prefix)
        processes = reader_processes(await self.estimate() * len(names) // len(shard.NAMES))
        if processes > 1:
            request = Request(str(self._base), names, query, extent, self._clock())
            await self._run(self._check_base)
            async for part in read_overviews(request, processes):
                _log_unreadable(part.headers)
                yield part.overview
            return
        async for page in self.pages(query):
            overview = Overview(extent)
            overview.add(page)
            yield overview

    async def load_many(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord]:
        """See `BulkLoadable.load_many`."""
        return await self._run(self._load_all, keys)

    async def delete_many(self, seen: Sequence[Summary]) -> tuple[int, Collection[str]]:
        """See `BulkDeletable.delete_many`; up to 100 records of a shard under one lock."""
        shards: dict[str, list[Summary]] = {}
        for one in seen:
            shards.setdefault(shard.shard_name(one.key), []).append(one)
        removed, remaining = 0, list[str]()
        for name, ones in shards.items():
            for batch in _batches(ones):
                gone, others = await self._run(self._remove_unchanged, name, batch)
                removed += gone
                remaining += others
        return removed, remaining

    async def estimate(self) -> int:
        """See `Estimable.estimate`. Counts the files of some shards."""
        some = shard.NAMES[:_SAMPLE]
        counts = [len(await self._run(self._file_names, name)) for name in some]
        return sum(counts) * len(shard.NAMES) // len(some)

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`. Also removes unreadable files and those of killed writers.

        After each batch it sleeps for as long as the batch took, to leave the processor to others.
        Only files with an mtime in the past are opened. A file that a backup tool gave a later mtime stays
        until then; `load` treats its record as expired all the same.
        """
        removed, clock = 0, asyncio.get_running_loop().time
        began = clock()
        async for number in self.purge_batches(now):
            removed += number
            await asyncio.sleep(clock() - began)
            began = clock()
        return removed

    async def purge_batches(self, now: int, limit: int | None = None) -> AsyncIterator[int]:
        """See `BatchPurgeable.purge_batches`."""
        for name in shard.NAMES:
            await self._run(self._remove_leftover, name)
            due = await self._run(self._due, name, now)
            yield 0  # so that a sweeper pauses after the search too
            for keys in _batches(due, min(limit or _BATCH, _BATCH)):
                yield await self._run(self._remove_expired, name, keys, now)

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`. Counts unreadable files, which a purge removes."""
        found = 0
        for name in shard.NAMES:
            for keys in _batches(await self._run(self._due, name, now)):
                found += await self._run(self._count_expired, name, keys, now)
        return found

    async def _step(self, work: Callable[[bool, *Ts], T], *args: *Ts) -> T:
        """Run one atomic operation on the event loop if it does not wait, and otherwise in a thread.

        A small write to the page cache takes about 80 microseconds. A thread would cost a busy event loop ten
        times as much, since it competes for the interpreter lock after every system call. A held lock is
        waited for in a thread, and so is a disk that was slow in the last second.
        """
        started = time.monotonic()
        if started >= self._latency.slow_until:
            try:
                return work(False, *args)
            except BlockingIOError:  # the lock is held
                pass
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                self._latency.record(started)
        return await self._run_limited(work, True, *args)

    async def _run_limited(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await self._timeout.wait_for(self._run(work, *args))
        except TimeoutError as error:
            raise StoreTimeout(
                f"The session folder {self._base} did not respond within {self._timeout.seconds:g} seconds."
            ) from error

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pools.get(), work, *args)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        reason = error.strerror or str(error)
        return StoreUnavailable(f"The session folder {self._base} cannot be used: {reason}.")

    # -- one record: each of these is one atomic step ------------------------------------------------------

    def _load(self, key: str) -> Record | None:
        with suppress(FileNotFoundError), Shard(self._shard_path(key)) as folder:
            found = self._live(folder, key)
            if found is not None:
                return found
        self._check_base()
        return None

    def _load_all(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord]:
        found: dict[str, Record | UnreadableRecord] = {}
        for key in keys:
            try:
                record = self._load_again(key)
            except UnreadableRecord as error:
                found[key] = error
                continue
            if record is not None:
                found[key] = record
        return found

    def _load_again(self, key: str) -> Record | None:
        try:
            return self._load(key)
        except UnreadableRecord:  # two writes may have overlapped the read
            return self._load_locked(key)

    def _load_locked(self, key: str) -> Record | None:
        with suppress(FileNotFoundError), LockedShard(self._shard_path(key)) as folder:
            return self._live(folder, key)
        self._check_base()
        return None

    def _create(self, wait: bool, record: Record) -> int | None:
        try:
            return self._insert(wait, record)
        except FileNotFoundError:  # no folder yet, or it was removed concurrently
            self._make_base()
            _make_folder(Path(self._shard_path(record.key)))
            return self._insert(wait, record)

    def _insert(self, wait: bool, record: Record) -> int | None:
        with suppress(UnreadableRecord), LockedShard(self._shard_path(record.key), wait) as folder:
            if self._live(folder, record.key) is None:
                return folder.write(record, version=1)
        return None

    def _save(self, wait: bool, record: Record, expected: Version) -> int | None:
        try:
            with LockedShard(self._shard_path(record.key), wait) as folder:
                return folder.change(
                    record.key,
                    lambda stored: (
                        (record, int(expected) + 1) if self._has_version(stored, expected) else None
                    ),
                )
        except (FileNotFoundError, UnreadableRecord):
            self._check_base()
            return None

    def _touch(self, wait: bool, key: str, expected: Version, last_used: int, expires: int) -> bool:
        with (
            suppress(FileNotFoundError, UnreadableRecord),
            LockedShard(self._shard_path(key), wait) as folder,
        ):
            touched = folder.change(
                key,
                lambda stored: (
                    (replace(stored, last_used=last_used, expires=expires), int(expected))
                    if self._has_version(stored, expected)
                    else None
                ),
            )
            return touched is not None
        self._check_base()
        return False

    def _delete(self, wait: bool, key: str, expected: RecordOrSummary | None) -> bool:
        with (
            suppress(FileNotFoundError, UnreadableRecord),
            LockedShard(self._shard_path(key), wait) as folder,
        ):
            if expected is None or _is_still(folder.read(key), expected):
                return folder.remove(key)
        self._check_base()
        return False

    def _has_version(self, stored: Record, expected: Version) -> bool:
        """Whether the record is live and has the expected version."""
        return stored.version == expected and stored.expires > self._clock()

    def _live(self, folder: Shard, key: str) -> Record | None:
        found = folder.read(key)
        return found if found is not None and found.expires > self._clock() else None

    def _shard_path(self, key: str) -> str:
        return self._folder(shard.shard_name(key))

    def _folder(self, name: str) -> str:
        """Return a shard's path, after a check once a second. Raises FileNotFoundError, PermissionError."""
        if time.monotonic() >= self._checked_until:
            if not self._check_base():
                raise FileNotFoundError
            self._checked_until = time.monotonic() + _CHECKED_FOR
        return f"{self._base}/{name}"  # building a Path takes longer than opening a file

    def _check_base(self) -> bool:
        """Return whether the folder exists; before the first session it need not.

        Raises `OSError` if it is not the folder used before, and `PermissionError` if another user can change
        it.
        """
        try:
            found = os.stat(self._base)  # noqa: PTH116 - half the time of a Path's
        except FileNotFoundError:
            if self._identity is None:
                return False
            raise OSError(errno.ESTALE, f"it is gone; {_PUT_BACK}") from None
        check_private(found, self._base)
        identity = found.st_dev, found.st_ino
        if self._identity is None:
            self._identity = identity
        elif self._identity != identity:
            raise OSError(errno.ESTALE, f"another folder is in its place; {_PUT_BACK}")
        return True

    def _make_base(self) -> None:
        if self._check_base():
            return
        self._base.parent.mkdir(parents=True, exist_ok=True)
        _make_folder(self._base)
        self._check_base()

    def _write_probe_file(self) -> None:
        self._make_base()
        for name in shard.NAMES:
            with suppress(FileNotFoundError):
                check_private((self._base / name).lstat(), self._base / name)
        with tempfile.TemporaryFile(dir=self._base, buffering=0) as probe:
            probe.write(b".")

    # -- one shard or a batch of its records ----------------------------------------------------------------

    def _file_names(self, name: str) -> list[str]:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return folder.file_names()
        return []

    def _due(self, name: str, now: int) -> list[str]:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return folder.due(now)
        return []

    def _headers(self, name: str, files: list[str]) -> Headers:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return read_headers(folder, files, self._clock())
        return Headers()

    def _remove_leftover(self, name: str) -> None:
        if (self._base / name / shard.LEFTOVER).exists():
            with suppress(FileNotFoundError), LockedShard(self._folder(name)) as folder:
                folder.remove_leftover()

    def _count_expired(self, name: str, keys: list[str], now: int) -> int:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return sum(_has_expired(folder, key, now) for key in keys)
        return 0

    def _remove_unchanged(self, name: str, seen: Sequence[Summary]) -> tuple[int, list[str]]:
        """Remove the records that are as seen; return their number, and the keys of the others."""
        removed, others = 0, list[str]()
        with suppress(FileNotFoundError), LockedShard(self._folder(name)) as folder:
            for one in seen:
                if _is_unchanged(folder, one) and folder.remove(one.key):
                    removed += 1
                else:
                    others.append(one.key)
            return removed, others
        self._check_base()
        return 0, []

    def _remove_expired(self, name: str, keys: list[str], now: int) -> int:
        with suppress(FileNotFoundError), LockedShard(self._folder(name)) as folder:
            return sum(folder.remove(key) for key in keys if _has_expired(folder, key, now))
        return 0


async def _end_threads(pool: ThreadPoolExecutor) -> None:
    """Wait for the threads of a pool."""
    await asyncio.to_thread(pool.shutdown)


def _log_unreadable(found: Headers) -> None:
    for key, reason in found.unreadable:
        logger.warning("Session %s is unreadable and not listed: %s", key, reason)


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(0o700)
        folder.chmod(0o700)  # the umask may have taken bits away


def _has_expired(folder: Shard, key: str, now: int) -> bool:
    """Whether the record itself is expired; the mtimes of a restored backup differ."""
    try:
        found = folder.read(key)
    except UnreadableRecord as error:
        logger.warning("Session %s is unreadable, and a purge removes it: %s", key, error)
        return True
    return found is not None and found.expires <= now


def _is_unchanged(folder: Shard, seen: Summary) -> bool:
    with suppress(UnreadableRecord):
        return _is_still(folder.read(seen.key), seen)
    return False


def _is_still(stored: Record | None, seen: RecordOrSummary) -> bool:
    return stored is not None and (stored.version, stored.last_used) == (seen.version, seen.last_used)


def _batches(keys: list[T], size: int = _BATCH) -> Iterator[list[T]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))
