"""One folder of session files: its lock, and reading, writing and removing a record in it.

    <folder>/3f/3fa0…c1    a record with a key that begins with 3f; the mtime is its expiry in
                           milliseconds, plus a number of nanoseconds that changes with each write
    <folder>/3f/.new       a new file while it is written

A writer locks the shard (the folder `3f`), reads the record and updates it in place (see `double_buffer`). A
new record, or one that has outgrown its file, is written to `.new` and renamed. Readers take no lock: they
see the old record or the new one.

Nothing is fsynced, since that would add the disk's latency to every request. A killed process loses no
confirmed write. After a power cut the last writes may be missing or a file truncated; checksums make a
damaged record unreadable, so half a record is never returned.
"""

import errno
import fcntl
import os
import random
import re
import stat
import time
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Self

from ...errors import UnreadableRecord
from ...record import KEY_LENGTH, Record, is_key, pack, unpack
from ..ownership import check_private
from . import double_buffer

NAMES = [f"{byte:02x}" for byte in range(256)]
"""The names of all shards."""

MAX_BYTES = 4 << 20
"""Files larger than this are unreadable."""

_MOSTLY = 16_384  # bytes; most files are smaller, which saves an fstat

MAX_RECORD = 1 << 20
"""Limit of a packed record, far above the limit of a session."""

LEFTOVER = ".new"

_FILE_NAME = re.compile("[0-9a-f]{32}")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")

LOCK_TIMEOUT = 5.0
"""Seconds to wait for a lock. A write takes less than a millisecond, so the holder must be stuck."""

_SECOND = 1_000_000_000  # in nanoseconds; some file systems store no finer times
_MILLISECOND = 1_000_000

GUARDED = os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags to open a record's file. Without O_NONBLOCK, opening a pipe would wait for its writer."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
# Errors for a symbolic link (ELOOP), a socket (ENXIO on Linux, EOPNOTSUPP on macOS) and a folder.
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP, errno.EISDIR)


class _OpenFile:
    """Close a descriptor at the end of a `with` block; a generator would take as long as the opening."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


class Shard:
    """A shard, opened for a `with` block. Its operations stay in this folder, even if a parent is renamed.

    Raises FileNotFoundError, and PermissionError if another user owns it or can write to it. Every method may
    raise `OSError`.
    """

    def __init__(self, path: str | Path) -> None:
        self.folder: int = os.open(path, _FOLDER)
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
        """Return the record, even an expired one, or None if there is none. Raises `UnreadableRecord`."""
        try:
            with self._opened(_file_name(key), os.O_RDONLY) as file:
                return unpack(key, double_buffer.current_slot(_read_content(file)).content)
        except FileNotFoundError:
            return None

    def file_names(self) -> list[str]:
        """List all files with a record's name, expired records and garbage included."""
        return list(filter(_FILE_NAME.fullmatch, os.listdir(self.folder)))  # noqa: PTH208 - a descriptor

    def due(self, now: int) -> list[str]:
        """List the keys of the files that are expired by their mtime."""
        with os.scandir(self.folder) as entries:
            files = (entry for entry in entries if _FILE_NAME.fullmatch(entry.name))
            return [key_from_name(entry.name) for entry in files if _is_due(entry, now)]

    def _opened(self, name: str, access: int = os.O_RDWR) -> "_OpenFile":
        """Open a record's file.

        Raises FileNotFoundError, and `UnreadableRecord` if it is not a file or belongs to another user.
        """
        try:
            file = os.open(name, access | GUARDED, dir_fd=self.folder)
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
        return _OpenFile(file)


class LockedShard(Shard):
    """A shard with an exclusive lock, among all threads and processes of the host.

    Raises BlockingIOError if the lock is held and `wait` is false.

    The lock is on the folder itself: no lock file can be removed and replaced, and a folder removed during
    the wait accepts no new file. It belongs to the descriptor, so every operation opens its own, and it ends
    with the process.
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
            # Not left to `close`: a process forked since then holds the descriptor as well.
            fcntl.flock(self.folder, fcntl.LOCK_UN)
        finally:
            os.close(self.folder)

    def write(self, record: Record, *, version: int) -> int:
        """Write a new record, completely or not at all, and return the version."""
        packed = _pack(record, version)
        with suppress(FileNotFoundError, UnreadableRecord), self._opened(_file_name(record.key)) as file:
            content = _read_content(file)
            if _write_in_place(file, content, double_buffer.current_slot(content), packed, record.expires):
                return version
        self._put(record, packed)
        return version

    def change(self, key: str, make: Callable[[Record], tuple[Record, int] | None]) -> int | None:
        """Replace the record by the record and version that `make` returns, and return the version.

        Return None, changing nothing, if there is no record or `make` returns None. Raises
        `UnreadableRecord`.
        """
        try:
            with self._opened(_file_name(key)) as file:
                content = _read_content(file)
                current = double_buffer.current_slot(content)
                made = make(unpack(key, current.content))
                if made is None:
                    return None
                record, version = made
                packed = _pack(record, version)
                if not _write_in_place(file, content, current, packed, record.expires):
                    self._put(record, packed)
                return version
        except FileNotFoundError:
            return None

    def _put(self, record: Record, packed: bytes) -> None:
        """Write a new file and rename it over the record's."""
        try:
            self._write_new(double_buffer.new_file(packed), record.expires)
            os.replace(LEFTOVER, _file_name(record.key), src_dir_fd=self.folder, dst_dir_fd=self.folder)
        except OSError:
            with suppress(OSError):  # report the first error; the next writer removes the leftover
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
            _set_mtime(file, expires, double_buffer.FIRST)
        finally:
            os.close(file)

    def remove(self, key: str) -> bool:
        """Remove the record's file, whatever it contains, but not a folder. Return whether it did."""
        name = _file_name(key)
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=self.folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=self.folder)
                return True
        return False

    def remove_leftover(self) -> None:
        """Remove the file of a killed writer; no other writer has the lock."""
        with suppress(FileNotFoundError):
            os.unlink(LEFTOVER, dir_fd=self.folder)


def _pack(record: Record, version: int) -> bytes:
    packed = pack(record, version)
    if len(packed) > MAX_RECORD:
        raise ValueError(f"A session file holds a record of at most {MAX_RECORD} bytes.")
    return packed


def _write_in_place(
    file: int, content: bytes, current: double_buffer.Slot, packed: bytes, expires: int
) -> bool:
    """Update a file with this content; return False if it has no room for the record."""
    found = double_buffer.change(content, current, packed)
    if found is None:
        return False
    at, slot = found
    while slot:
        written = os.pwrite(file, slot, at)
        at, slot = at + written, slot[written:]
    _set_mtime(file, expires, current.sequence + 1)
    return True


def _set_mtime(file: int, expires: int, sequence: int) -> None:
    """Store the expiry as the mtime, and a later atime, so that reads do not update it (see mount(8)).

    The nanoseconds below a millisecond change with each write, so that a backup tool notices a change that
    keeps the size and the expiry.
    """
    mtime = expires * _MILLISECOND + sequence % _MILLISECOND
    os.utime(file, ns=(mtime + _SECOND, mtime))


def _read_content(file: int) -> bytes:
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


def shard_name(key: str) -> str:
    """Return the name of the shard of a key."""
    return _file_name(key)[:2]


def names(prefix: str) -> list[str]:
    """Return the names of the shards with keys that begin with `prefix`."""
    if not prefix:
        return NAMES
    first, last = (urlsafe_b64decode((prefix + fill * 4)[:4])[0] for fill in ("A", "_"))
    return NAMES[first : last + 1]


@lru_cache(1024)
def _file_name(key: str) -> str:
    """Return the name in hexadecimal, since some file systems ignore case."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no session key.")
    return urlsafe_b64decode(key + "==").hex()


def key_from_name(name: str) -> str:
    """Return the key of a file."""
    return b2a_base64(bytes.fromhex(name), newline=False)[:KEY_LENGTH].translate(_URL_SAFE).decode()


def _is_due(entry: os.DirEntry[str], now: int) -> bool:
    with suppress(FileNotFoundError):
        found = entry.stat(follow_symlinks=False)
        return stat.S_ISREG(found.st_mode) and found.st_mtime_ns // _MILLISECOND <= now
    return False


def _lock(folder: int, wait: bool) -> None:
    """Wait for the lock for a limited time: a stopped process must not hang the threads of all others."""
    waited = 0.0  # as requested of sleep, so that time in which the process was stopped does not count
    pause = 0.0002
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            if waited > LOCK_TIMEOUT:
                raise TimeoutError("another process does not give back its lock") from None
        jittered = random.uniform(0, pause)  # noqa: S311 - not a secret
        time.sleep(jittered)
        waited += jittered
        pause = min(pause * 2, 0.005)
