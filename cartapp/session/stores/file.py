"""Sessions in files, one file a record: for all processes of one host, on a local disk."""

import asyncio
import errno
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from msgspec.structs import replace

from ..errors import StoreUnavailable, UnreadableRecord
from ..record import Clock, Record, Seen, Summary, Version, now, summary_of
from . import shard
from .ownership import check_private
from .pace import Pace
from .shard import LockedShard, Shard

logger = logging.getLogger("cartapp.session")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
_CHECKED_FOR = 1.0  # seconds until the folder and its owner are looked at again
_PUT_BACK = "put it back, or restart the application to begin with what is there"
_BATCH = 100  # files that one step of a scan or purge opens: a few milliseconds


class FileStore:
    """A store in a folder, which is made with mode 0700 when first needed; its files have mode 0600.

    The folder itself may be a symbolic link; inside it none is followed. A folder that another user owns or
    can write to is refused. One that is gone after it was used, or has another one in its place (a volume
    that is not mounted any more), is an outage: its sessions are not absent, but somewhere else.

    What stands in a record's place without being one of ours (garbage, a folder, a link, a socket, another
    user's file) is an `UnreadableRecord` for `load` and a taken key for `create`; `save` and `touch` leave it
    alone. What the files hold, and what a crash can do to them: see `shard`.

    Whatever may wait (a lock, a slow disk, listing, purging) runs in a few threads of the store's own. A step
    that has begun is finished there even when the task that awaits it is cancelled. Make the store in the
    process that uses it: threads do not survive a fork.
    """

    name = "file"

    def __init__(self, path: str | Path, *, clock: Clock = now) -> None:
        self._base = Path(path).absolute()
        self.sweep_lock: Path | None = self._base / ".sweeper"
        self._clock = clock
        self._pace = Pace()
        self._checked_until = 0.0  # on the monotonic clock
        self._identity: tuple[int, int] | None = None  # of the folder that is used
        with suppress(OSError):  # a process that is not used before the folder goes must know it too
            self._check_base()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="session-files")

    # -- the contract -------------------------------------------------------------------------------------

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`; an expired record makes way."""
        return await self._step(self._create, record)

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        # Done right here on the event loop: a handful of calls that the page cache answers in some twenty
        # microseconds, less than handing them to a thread would take. `shard.MAX_BYTES` keeps it that way.
        try:
            return self._load(key)
        except UnreadableRecord:
            return await self._run(self._load_locked, key)  # two writers may just have passed us
        except OSError as error:
            raise self._unavailable(error) from error

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired or unreadable record counts as gone."""
        return await self._step(self._save, record, expected)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired or unreadable record counts as gone."""
        return await self._step(self._touch, key, expected, last_used, expires)

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`. Without `expected` garbage, links and sockets go as well; a folder stays."""
        return await self._step(self._delete, key, expected)

    async def ping(self) -> None:
        """Write a byte into the folder, which is made when it is missing. Raises `StoreUnavailable`."""
        await self._run(self._probe)

    async def close(self) -> None:
        """Wait for the steps that have begun and end the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`; each unreadable record costs one log line."""
        for name in shard.NAMES:
            for keys in _batches(await self._run(self._keys, name)):
                for found in await self._run(self._summaries, name, keys):
                    if user_id in (None, found.user_id):
                        yield found

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`. What killed writers left, and unreadable files, go as well.

        Each shard's files are looked at, and after each others have the processor for as long as it took.

        Only files whose mtime has passed are opened. One that a backup tool gave a later mtime stays until
        then; `load` knows all the same that it has expired.
        """
        removed, clock = 0, asyncio.get_running_loop().time
        for name in shard.NAMES:
            began = clock()
            await self._run(self._remove_leftover, name)
            for keys in _batches(await self._run(self._due, name, now)):
                removed += await self._run(self._remove_expired, name, keys, now)
            await asyncio.sleep(clock() - began)
        return removed

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`; files that no purge could read are counted as it would."""
        found = 0
        for name in shard.NAMES:
            for keys in _batches(await self._run(self._due, name, now)):
                found += await self._run(self._count_expired, name, keys, now)
        return found

    async def _step(self, work: Callable[[bool, *Ts], T], *args: *Ts) -> T:
        """One atomic step, right here where that takes no waiting, and otherwise in a thread.

        The page cache takes a small write as fast as it gives one back, some eighty microseconds in all. A
        thread would take ten times that of a busy event loop, which it has to ask for the interpreter after
        every system call. A held lock is waited for in a thread, and so is a disk that was slow just now.
        """
        started = time.monotonic()
        if started >= self._pace.slow_until:
            try:
                return work(False, *args)
            except BlockingIOError:  # somebody holds the lock
                pass
            except OSError as error:
                raise self._unavailable(error) from error
            finally:
                self._pace.note(started)
        return await self._run(work, True, *args)

    async def _run(self, work: Callable[[*Ts], T], *args: *Ts) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        reason = error.strerror or str(error)
        return StoreUnavailable(f"The session folder {self._base} cannot be used: {reason}.")

    # -- one record: each of these is one atomic step ------------------------------------------------------

    def _load(self, key: str) -> Record | None:
        with suppress(FileNotFoundError), Shard(self._place(key)) as folder:
            found = self._live(folder, key)
            if found is not None:
                return found
        self._check_base()
        return None

    def _load_locked(self, key: str) -> Record | None:
        with suppress(FileNotFoundError), LockedShard(self._place(key)) as folder:
            return self._live(folder, key)
        self._check_base()
        return None

    def _create(self, wait: bool, record: Record) -> int | None:
        try:
            return self._insert(wait, record)
        except FileNotFoundError:  # no folder yet, or it was removed while we were in it
            self._make_base()
            _make_folder(Path(self._place(record.key)))
            return self._insert(wait, record)

    def _insert(self, wait: bool, record: Record) -> int | None:
        with suppress(UnreadableRecord), LockedShard(self._place(record.key), wait) as folder:
            if self._live(folder, record.key) is None:
                return folder.write(record, version=1)
        return None

    def _save(self, wait: bool, record: Record, expected: Version) -> int | None:
        try:
            with LockedShard(self._place(record.key), wait) as folder:
                return folder.change(
                    record.key,
                    lambda stored: (record, int(expected) + 1) if self._is_seen(stored, expected) else None,
                )
        except (FileNotFoundError, UnreadableRecord):
            self._check_base()
            return None

    def _touch(self, wait: bool, key: str, expected: Version, last_used: int, expires: int) -> bool:
        with suppress(FileNotFoundError, UnreadableRecord), LockedShard(self._place(key), wait) as folder:
            touched = folder.change(
                key,
                lambda stored: (
                    (replace(stored, last_used=last_used, expires=expires), int(expected))
                    if self._is_seen(stored, expected)
                    else None
                ),
            )
            return touched is not None
        self._check_base()
        return False

    def _delete(self, wait: bool, key: str, expected: Seen | None) -> bool:
        with suppress(FileNotFoundError, UnreadableRecord), LockedShard(self._place(key), wait) as folder:
            if expected is None or _is_still(folder.read(key), expected):
                return folder.remove(key)
        self._check_base()
        return False

    def _is_seen(self, stored: Record, expected: Version) -> bool:
        """Whether it is live and has the version that the caller has seen."""
        return stored.version == expected and stored.expires > self._clock()

    def _live(self, folder: Shard, key: str) -> Record | None:
        found = folder.read(key)
        return found if found is not None and found.expires > self._clock() else None

    def _place(self, key: str) -> str:
        return self._folder(shard.name_of(key))

    def _folder(self, name: str) -> str:
        """Return a shard's path. Raises FileNotFoundError and PermissionError, looking once in a while."""
        if time.monotonic() >= self._checked_until:
            if not self._check_base():
                raise FileNotFoundError
            self._checked_until = time.monotonic() + _CHECKED_FOR
        return f"{self._base}/{name}"  # a Path takes longer to make than a file to open

    def _check_base(self) -> bool:
        """Return whether there is a folder: before the first session there need be none.

        Raises `OSError` when it is not the folder that was used before, and `PermissionError` when another
        user can change it.
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

    def _probe(self) -> None:
        self._make_base()
        for name in shard.NAMES:
            with suppress(FileNotFoundError):
                check_private((self._base / name).lstat(), self._base / name)
        with tempfile.TemporaryFile(dir=self._base, buffering=0) as probe:
            probe.write(b".")

    # -- one shard or a batch of its records ----------------------------------------------------------------

    def _keys(self, name: str) -> list[str]:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return folder.keys()
        return []

    def _due(self, name: str, now: int) -> list[str]:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return folder.due(now)
        return []

    def _summaries(self, name: str, keys: list[str]) -> list[Summary]:
        found = []
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            for key in keys:
                try:
                    record = self._live(folder, key)
                except UnreadableRecord as error:
                    logger.warning("Session %s is unreadable and not listed: %s", key, error)
                    continue
                if record is not None and not record.is_tombstone:
                    found.append(summary_of(record))
        return found

    def _remove_leftover(self, name: str) -> None:
        if (self._base / name / shard.LEFTOVER).exists():
            with suppress(FileNotFoundError), LockedShard(self._folder(name)) as folder:
                folder.remove_leftover()

    def _count_expired(self, name: str, keys: list[str], now: int) -> int:
        with suppress(FileNotFoundError), Shard(self._folder(name)) as folder:
            return sum(_has_expired(folder, key, now) for key in keys)
        return 0

    def _remove_expired(self, name: str, keys: list[str], now: int) -> int:
        with suppress(FileNotFoundError), LockedShard(self._folder(name)) as folder:
            return sum(folder.remove(key) for key in keys if _has_expired(folder, key, now))
        return 0


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(0o700)
        folder.chmod(0o700)  # the umask may have taken bits away


def _has_expired(folder: Shard, key: str, now: int) -> bool:
    """What the record itself says: a restored backup has other mtimes."""
    try:
        found = folder.read(key)
    except UnreadableRecord as error:
        logger.warning("Session %s is unreadable, and a purge removes it: %s", key, error)
        return True
    return found is not None and found.expires <= now


def _is_still(stored: Record | None, seen: Seen) -> bool:
    return stored is not None and (stored.version, stored.last_used) == (seen.version, seen.last_used)


def _batches(keys: list[str]) -> Iterator[list[str]]:
    return (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
