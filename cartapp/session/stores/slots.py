"""Two slots in one file, so that a record is changed in place and never seen half changed.

    slot: sequence (8 bytes) | length (4) | checksum (4) | content | room

The slot with the higher sequence counts; a change goes into the other one. Whoever reads while it is written,
and whoever comes after a writer was killed there, finds that slot's checksum wrong and the former one right.
No file is made and none renamed, which a file system's journal makes a hundred times as dear as a write.
"""

import struct
import zlib
from typing import NamedTuple

from ..errors import UnreadableRecord

_HEAD = struct.Struct(">QII")
_SMALLEST = 512  # a slot's size in bytes, as small as a disk's sectors get


FIRST = 1
"""The sequence of a new file; each change counts one more."""


def fresh(content: bytes) -> bytes:
    """A new file with this content and room to grow in place."""
    size = max(_SMALLEST, 1 << (_HEAD.size + len(content) * 5 // 4).bit_length())
    return _slot(FIRST, content).ljust(2 * size, b"\0")


class Slot(NamedTuple):
    """A whole slot."""

    sequence: int
    place: int
    content: bytes


def newest(file: bytes) -> Slot:
    """The slot that counts. Raises `UnreadableRecord` when neither is whole."""
    size = len(file) // 2
    if size >= _HEAD.size:
        heads = _HEAD.unpack_from(file), _HEAD.unpack_from(file, size)
        for index in (0, 1) if heads[0] > heads[1] else (1, 0):
            sequence, length, checksum = heads[index]
            start = index * size + _HEAD.size
            content = file[start : start + length]
            fits = length <= size - _HEAD.size
            if fits and sequence and checksum == _checksum(sequence, content):
                return Slot(sequence, index, content)
    raise UnreadableRecord("it is not a whole record of this version")


def change(file: bytes, counts: Slot, content: bytes) -> tuple[int, bytes] | None:
    """What to write where in a file to change its content; None when that does not fit into a slot."""
    size = len(file) // 2
    if _HEAD.size + len(content) > size:
        return None
    return (1 - counts.place) * size, _slot(counts.sequence + 1, content)


def _slot(sequence: int, content: bytes) -> bytes:
    return _HEAD.pack(sequence, len(content), _checksum(sequence, content)) + content


def _checksum(sequence: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(sequence.to_bytes(8, "big")))
