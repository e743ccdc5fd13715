"""Read the headers of many records of a shard, for listings.

A listing of a million files spends most of its time here, so it reads into one buffer and copies the headers
only. A file that is not as expected is read again by `Shard.read`, which reports why.
"""

import os
import stat
from collections.abc import Iterable
from typing import Final, cast

import msgspec

from ...errors import UnreadableRecord
from ...record import Summary, is_expired, summarize, unpack_summary
from ..ownership import WRITABLE_BY_OTHERS
from . import double_buffer
from .shard import GUARDED, Shard, key_from_name

_BUFFER: Final = 16_384  # bytes; most files are smaller
_HEAD: Final = 128  # bytes of a record: the header and most user IDs
_READ: Final = os.O_RDONLY | GUARDED
_MODE: Final = stat.S_IFMT(0o177777) | WRITABLE_BY_OTHERS


class Headers(msgspec.Struct):
    """The live sessions of some files, without tombstones, and the keys and reasons of unreadable ones."""

    summaries: list[Summary] = msgspec.field(default_factory=list)
    unreadable: list[tuple[str, str]] = msgspec.field(default_factory=list)


def read_headers(folder: Shard, names: Iterable[str], now: int) -> Headers:
    """Read files by name; expired and missing ones are left out."""
    found, buffer, user = Headers(), bytearray(_BUFFER), os.geteuid()
    view = memoryview(buffer)
    for name in names:
        try:
            summary = _read(folder, name, now, buffer, view, user)
        except FileNotFoundError:
            continue
        except UnreadableRecord as error:
            found.unreadable.append((key_from_name(name), str(error)))
            continue
        if summary is not None:
            found.summaries.append(summary)
    return found


def _read(
    folder: Shard, name: str, now: int, buffer: bytearray, view: memoryview, user: int
) -> Summary | None:
    try:
        file = os.open(name, _READ, dir_fd=folder.folder)
    except FileNotFoundError:
        return None
    except OSError:
        return _read_whole(folder, name, now)
    try:
        found = os.fstat(file)
        if found.st_mode & _MODE != stat.S_IFREG or found.st_uid != user or found.st_size >= _BUFFER:
            return _read_whole(folder, name, now)
        length = os.readv(file, (buffer,))
    finally:
        os.close(file)
    try:
        # A view has the methods that are used of bytes, and slices it without a copy.
        content = double_buffer.current_slot(cast(bytes, view[:length])).content
        if is_expired(content, now):
            return None
        summary = unpack_summary(key_from_name(name), bytes(content[:_HEAD]), len(content))
    except UnreadableRecord:
        return _read_whole(folder, name, now)
    if summary is None:  # a long user ID
        return _read_whole(folder, name, now)
    return summary if summary.size else None


def _read_whole(folder: Shard, name: str, now: int) -> Summary | None:
    record = folder.read(key_from_name(name))
    is_live = record is not None and record.expires > now and not record.is_tombstone
    return summarize(record) if record is not None and is_live else None
