"""One folder of session files: its lock, and reading, writing and removing a record in it.

    <folder>/3f/3fa0…c1    the record whose key begins with the byte 3f; its mtime is when it expires,
                           in milliseconds, and below them a number that changes with each write
    <folder>/3f/.new       a new file that is being written

A writer locks the shard (the folder `3f`), looks at the record and changes it in place (`slots` says how that
is safe); what is new, or has outgrown its file, is written as `.new` and renamed over the record. A reader
takes no lock: it sees the old record or the new one.

Nothing is fsynced, as that would cost every request a disk's latency. A killed process loses nothing that was
answered. After a power cut the last writes may be missing or a file may be cut short; checksums make what is
not whole unreadable, so half a record is never shown.
"""

import errno
import fcntl
import os
import random
import re
import stat
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Self

from ..errors import UnreadableRecord
from ..record import Record, is_key, pack, unpack
from . import slots
from .ownership import check_private

NAMES = [f"{byte:02x}" for byte in range(256)]
"""The names of all shards."""

MAX_BYTES = 4 << 20
"""Size of a file that is read at all."""

_MOSTLY = 16_384  # bytes; files are mostly smaller, and then need not be asked for their size

MAX_RECORD = 1 << 20
"""Size of a record that is written at all, far more than a session may have."""

LEFTOVER = ".new"

LOCK_WAIT = 5.0
"""Seconds to wait for a lock. A write takes less than a millisecond, so its holder is stopped or stuck."""

_SECOND = 1_000_000_000  # in nanoseconds; some file systems store no finer times
_MILLISECOND = 1_000_000

# O_NONBLOCK: a pipe in a record's place must not make us wait for its writer.
_GUARDED = os.O_NOFOLLOW | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
# What opening says of a symbolic link (ELOOP), a socket (ENXIO on Linux, EOPNOTSUPP on macOS) and a folder.
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP, errno.EISDIR)


class _Opened:
    """A file's descriptor, which a `with` block closes; a generator would take as long as the opening."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class Shard:
    """An open shard, until the end of a `with` block. What is done in it stays in this folder, whatever is
    renamed or removed above it.

    Raises FileNotFoundError when there is none, and PermissionError when another user owns it or can write to
    it. Every method may raise `OSError`.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder = os.open(path, _FOLDER)
        try:
            check_private(os.fstat(self.folder), path)
        except BaseException:
            os.close(self.folder)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.folder)

    def read(self, key: str) -> Record | None:
        """The record, expired or not; None when there is none. Raises `UnreadableRecord`."""
        try:
            with self._opened(_file_name(key), os.O_RDONLY) as file:
                return unpack(key, slots.newest(_content(file)).content)
        except FileNotFoundError:
            return None

    def keys(self) -> list[str]:
        """The keys of all that stands in a record's place, expired records and garbage included."""
        with os.scandir(self.folder) as entries:
            return [_key(entry.name) for entry in entries if _is_file_name(entry.name)]

    def due(self, now: int) -> list[str]:
        """The keys of the files that, by their mtime, have expired."""
        with os.scandir(self.folder) as entries:
            files = (entry for entry in entries if _is_file_name(entry.name))
            return [_key(entry.name) for entry in files if _is_due(entry, now)]

    def _opened(self, name: str, access: int = os.O_RDWR) -> "_Opened":
        """A record's file.

        Raises FileNotFoundError, and `UnreadableRecord` for what is not a file or is another user's.
        """
        try:
            file = os.open(name, access | _GUARDED, dir_fd=self.folder)
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise UnreadableRecord("it is not a file") from error
            raise
        try:
            check_private(os.fstat(file), "its file")
        except PermissionError as error:
            os.close(file)
            raise UnreadableRecord(str(error.strerror)) from error
        except BaseException:
            os.close(file)
            raise
        return _Opened(file)


class LockedShard(Shard):
    """The shard for one writer alone, among all threads and processes of the host.

    Raises BlockingIOError when somebody else has it and `wait` is false.

    The lock is on the folder itself: there is no lock file that could be removed and made anew, and a folder
    that was removed while we waited takes no new file. It belongs to the descriptor, so every step opens its
    own, and it ends with the process.
    """

    def __init__(self, path: str | Path, wait: bool = True) -> None:
        super().__init__(path)
        try:
            _lock(self.folder, wait)
        except BaseException:
            os.close(self.folder)
            raise

    def __exit__(self, *_: object) -> None:
        try:
            # Not left to `close`: a process that was forked meanwhile holds the descriptor, too.
            fcntl.flock(self.folder, fcntl.LOCK_UN)
        finally:
            os.close(self.folder)

    def write(self, record: Record, *, version: int) -> int:
        """Put a record where none counts; whole or, when an error comes, not at all. Returns the version."""
        packed = _packed(record, version)
        with suppress(FileNotFoundError, UnreadableRecord), self._opened(_file_name(record.key)) as file:
            content = _content(file)
            if _write_in_place(file, content, slots.newest(content), packed, record.expires):
                return version
        self._put(record, packed)
        return version

    def change(self, key: str, make: Callable[[Record], tuple[Record, int] | None]) -> int | None:
        """Put what `make` makes of the record, with its version, in the record's place, as `write` does.

        None, and nothing changed, when there is no record or `make` returns None. Raises `UnreadableRecord`.
        """
        try:
            with self._opened(_file_name(key)) as file:
                content = _content(file)
                counts = slots.newest(content)
                made = make(unpack(key, counts.content))
                if made is None:
                    return None
                record, version = made
                packed = _packed(record, version)
                if not _write_in_place(file, content, counts, packed, record.expires):
                    self._put(record, packed)
                return version
        except FileNotFoundError:
            return None

    def _put(self, record: Record, packed: bytes) -> None:
        """Write a new file and rename it over the record's."""
        try:
            self._write_new(slots.fresh(packed), record.expires)
            os.replace(LEFTOVER, _file_name(record.key), src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError:
            with suppress(OSError):  # the first error is the one to tell; the next writer removes what stays
                self.remove_leftover()
            raise

    def _write_new(self, content: bytes, expires: int) -> None:
        try:
            file = os.open(LEFTOVER, _NEW, 0o600, dir_fd=self.folder)
        except FileExistsError:
            self.remove_leftover()
            file = os.open(LEFTOVER, _NEW, 0o600, dir_fd=self.folder)
        try:
            os.fchmod(file, 0o600)  # the umask may have taken bits away
            while content:
                content = content[os.write(file, content) :]
            _stamp(file, expires, slots.FIRST)
        finally:
            os.close(file)

    def remove(self, key: str) -> bool:
        """Remove what stands in the record's place, but never a folder; says whether it did."""
        name = _file_name(key)
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=self.folder)
                return True
        return False

    def remove_leftover(self) -> None:
        """Remove what a killed writer left: as we hold the lock, nobody is writing it now."""
        with suppress(FileNotFoundError):
            os.unlink(LEFTOVER, dir_fd=self.folder)


def _packed(record: Record, version: int) -> bytes:
    packed = pack(record, version)
    if len(packed) > MAX_RECORD:
        raise ValueError(f"A session file holds a record of at most {MAX_RECORD} bytes.")
    return packed


def _write_in_place(file: int, content: bytes, counts: slots.Slot, packed: bytes, expires: int) -> bool:
    """Change a file that has this content; False when it has no room for the record."""
    found = slots.change(content, counts, packed)
    if found is None:
        return False
    at, slot = found
    while slot:
        written = os.pwrite(file, slot, at)
        at, slot = at + written, slot[written:]
    _stamp(file, expires, counts.sequence + 1)
    return True


def _stamp(file: int, expires: int, sequence: int) -> None:
    """Put the expiry into the mtime, and a later atime, so that reading writes none (see mount(8)).

    The nanoseconds below a millisecond differ from write to write, since a file's size and its expiry may
    stay the same: so a backup tool sees the change.
    """
    mtime = expires * _MILLISECOND + sequence % _MILLISECOND
    os.utime(file, ns=(mtime + _SECOND, mtime))


def _content(file: int) -> bytes:
    try:
        content = os.read(file, _MOSTLY)
    except (BlockingIOError, IsADirectoryError) as error:  # it is a pipe, or a folder
        raise UnreadableRecord("it is not a file") from error
    if len(content) < _MOSTLY:
        return content
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableRecord("it is not a file")
    if found.st_size > MAX_BYTES:
        raise UnreadableRecord(f"it is larger than {MAX_BYTES} bytes")
    return os.pread(file, found.st_size, 0)


def name_of(key: str) -> str:
    """The name of the shard in which a key's record is."""
    return _file_name(key)[:2]


@lru_cache(1024)
def _file_name(key: str) -> str:
    """Hexadecimal, since some file systems do not tell `a` from `A`."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no session key.")
    return urlsafe_b64decode(key + "==").hex()


def _key(name: str) -> str:
    return urlsafe_b64encode(bytes.fromhex(name)).decode().rstrip("=")


def _is_file_name(name: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", name) is not None


def _is_due(entry: os.DirEntry[str], now: int) -> bool:
    with suppress(FileNotFoundError):
        found = entry.stat(follow_symlinks=False)
        return stat.S_ISREG(found.st_mode) and found.st_mtime_ns // _MILLISECOND <= now
    return False


def _lock(folder: int, wait: bool) -> None:
    """Wait for the lock, but not for ever: one stopped process must not hang all threads of the others."""
    waited = 0.0  # as SQLite counts it, by what was asked of sleep: so a process that was stopped goes on
    pause = 0.0002
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if waited > LOCK_WAIT:
                raise TimeoutError("another process does not give back its lock") from None
        jittered = random.uniform(0, pause)  # noqa: S311 - not a secret
        time.sleep(jittered)
        waited += jittered
        pause = min(pause * 2, 0.005)
