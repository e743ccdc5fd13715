"""Two slots in one file, so that a record is changed in place and never seen half changed.

    slot: sequence (8 bytes) | length (4) | checksum (4) | content | room

The slot with the higher sequence counts; a change goes into the other one. Whoever reads while it is written,
and whoever comes after a writer was killed there, finds that slot's checksum wrong and the former one right.
No file is made and none renamed, which a file system's journal makes a hundred times as dear as a write.
"""

import struct
import zlib

from ..errors import UnreadableRecord

_HEAD = struct.Struct(">QII")
_SMALLEST = 512  # a slot's size in bytes, as small as a disk's sectors get


def fresh(content: bytes) -> bytes:
    """A new file with this content and room to grow in place."""
    size = max(_SMALLEST, 1 << (_HEAD.size + len(content) * 5 // 4).bit_length())
    return _slot(1, content).ljust(2 * size, b"\0")


def newest(file: bytes) -> bytes:
    """The content that counts. Raises `UnreadableRecord` when neither slot is whole."""
    return _newest(file)[2]


def change(file: bytes, content: bytes) -> tuple[int, bytes] | None:
    """What to write where in the file to change its content; None when that does not fit into a slot.

    Raises `UnreadableRecord`.
    """
    sequence, index, _ = _newest(file)
    size = len(file) // 2
    if _HEAD.size + len(content) > size:
        return None
    return (1 - index) * size, _slot(sequence + 1, content)


def _slot(sequence: int, content: bytes) -> bytes:
    return _HEAD.pack(sequence, len(content), _checksum(sequence, content)) + content


def _newest(file: bytes) -> tuple[int, int, bytes]:
    """Sequence, index and content of the slot that counts. Raises `UnreadableRecord`."""
    size = len(file) // 2
    if size >= _HEAD.size:
        heads = [(*_HEAD.unpack_from(file, index * size), index) for index in (0, 1)]
        for sequence, length, checksum, index in sorted(heads, reverse=True):
            start = index * size + _HEAD.size
            content = file[start : start + length]
            fits = length <= size - _HEAD.size
            if fits and sequence and checksum == _checksum(sequence, content):
                return sequence, index, content
    raise UnreadableRecord("it is not a whole record of this version")


def _checksum(sequence: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(sequence.to_bytes(8, "big")))
