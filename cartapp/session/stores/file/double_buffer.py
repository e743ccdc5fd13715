"""Double buffer in one file: update a record in place without a reader ever seeing half of it.

    slot: sequence (8 bytes) | length (4) | checksum (4) | content | padding

The intact slot with the higher sequence is current; a write goes into the other one. A reader that overlaps a
write, or that comes after a killed writer, finds a wrong checksum there and uses the current slot. No file is
created or renamed: with a journaling file system that costs a hundred times as much as a write.
"""

import struct
import zlib
from typing import NamedTuple

from ...errors import UnreadableRecord

_HEAD = struct.Struct(">QII")
_SMALLEST = 512  # a slot's size in bytes, as small as a disk's sectors get


FIRST = 1
"""The sequence of a new file. Each write increments it."""


def new_file(content: bytes) -> bytes:
    """Return a new file with this content and room to grow in place."""
    size = max(_SMALLEST, 1 << (_HEAD.size + len(content) * 5 // 4).bit_length())
    return _slot(FIRST, content).ljust(2 * size, b"\0")


class Slot(NamedTuple):
    """An intact slot."""

    sequence: int
    place: int
    content: bytes


def current_slot(file: bytes) -> Slot:
    """Return the intact slot with the higher sequence. Raises `UnreadableRecord` if there is none."""
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


def change(file: bytes, current: Slot, content: bytes) -> tuple[int, bytes] | None:
    """Return the offset and bytes to write for new content, or None if it does not fit into a slot."""
    size = len(file) // 2
    if _HEAD.size + len(content) > size:
        return None
    return (1 - current.place) * size, _slot(current.sequence + 1, content)


def _slot(sequence: int, content: bytes) -> bytes:
    return _HEAD.pack(sequence, len(content), _checksum(sequence, content)) + content


def _checksum(sequence: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(sequence.to_bytes(8, "big")))
