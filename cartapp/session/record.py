"""The id, the key made of it, and the record: frozen values without I/O.

The id is the secret that travels in the cookie: 256 bits from `secrets`. A store and the people who look
into it only ever see the key, the first 16 bytes of the id's SHA-256, so that what a store holds lets
nobody in (CVE-2019-16782).
"""

import os
import re
import secrets
import struct
import time
import zlib
from binascii import b2a_base64
from collections.abc import Callable
from hashlib import sha256
from random import Random

import msgspec

from .errors import UnreadableRecord

Version = int | str | bytes
"""What a store compares on `save`; only the store that made it knows its meaning."""

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""

ID_LENGTH = 43
KEY_LENGTH = 22

# 43 base64url characters hold 258 bits: the last one may only be a character whose two lowest bits are 0.
_ID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_KEY = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")


# A generator of our own: `secrets` asks the kernel each time, and what all share an application may seed.
_versions = Random()  # noqa: S311 - it makes no secrets
os.register_at_fork(after_in_child=_versions.seed)  # or the child would go on with its parent's numbers


def now() -> int:
    """The wall clock, as a `Clock`."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A new session id: 32 random bytes as 43 base64url characters."""
    return secrets.token_urlsafe(32)


def new_version() -> int:
    """A version that nobody else makes: 63 random bits, though no secret ones.

    For stores that cannot count: what was lost or dropped, and then made anew, is not the record that
    somebody still holds.
    """
    return _versions.getrandbits(63)


def is_id(text: str) -> bool:
    """Whether the text has the exact form of an id; says nothing about its being known."""
    return _ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Whether the text has the exact form of a key (which is also the public handle)."""
    return _KEY.fullmatch(text) is not None


def key_of(session_id: str) -> str:
    """The store's key of an id, and the handle that people see: 22 base64url characters."""
    digest = sha256(session_id.encode()).digest()[:16]
    return b2a_base64(digest, newline=False)[:KEY_LENGTH].translate(_URL_SAFE).decode()


# A session's data begins with "{", or with 0x01 where it is sealed; a tombstone's mark stays before the seal.
# Former tombstones have no data.
_SAME_USER, _OTHER_USER = b"=", b">"
PLACEHOLDER = b"~"
"""What the data of a placeholder begin with: a note that copying keeps in a store."""
_TOMBSTONES = (b"", _SAME_USER, _OTHER_USER, PLACEHOLDER)


class Record(msgspec.Struct, frozen=True):
    """One session as a store holds it. Times are milliseconds since 1970 UTC.

    A record whose data is not a session's is a tombstone: the id was given up in a rotation, and the session
    goes on under another one, its successor. A tombstone carries no user (see `tombstone_of`).

    A placeholder counts as a tombstone for stores and listings, and as absent for visitors: see `ledger`.
    """

    key: str
    created: int
    last_used: int
    expires: int
    data: bytes
    user_id: str | None = None
    epoch: int = 0
    version: Version = 0

    @property
    def is_tombstone(self) -> bool:
        """Whether this is only the marker of an id that was given up in a rotation."""
        return self.data[:1] in _TOMBSTONES

    @property
    def is_placeholder(self) -> bool:
        """Whether this is a note of `ledger` instead of the marker of a rotation."""
        return self.data[:1] == PLACEHOLDER

    @property
    def successor(self) -> str | None:
        """The key under which the session of a tombstone goes on; None for a session."""
        key = self.data[1:].decode("latin-1") if self.is_tombstone else ""
        return key if is_key(key) else None

    @property
    def kept_user(self) -> bool:
        """Whether the rotation that left this tombstone kept the session's user, guests included."""
        return self.data[:1] == _SAME_USER

    @property
    def size(self) -> int:
        """The length of a session's data in bytes; 0 for a tombstone."""
        return 0 if self.is_tombstone else len(self.data)


class Summary(msgspec.Struct, frozen=True):
    """A session's record without its data, as listing yields it; `size` is the data's length in bytes."""

    key: str
    created: int
    last_used: int
    expires: int
    size: int
    user_id: str | None = None
    version: Version = 0


Seen = Record | Summary
"""What a caller has read of a record: enough to compare it before it is deleted."""


def tombstone_of(record: Record, successor: Record, expires: int) -> Record:
    """The tombstone that replaces a record whose session goes on as `successor`.

    It names the successor's key, which lets nobody in, and no user: a store's header is not authenticated.
    """
    kind = _SAME_USER if successor.user_id == record.user_id else _OTHER_USER
    data = kind + successor.key.encode()
    return Record(record.key, record.created, record.last_used, expires, data, version=record.version)


def summary_of(record: Record) -> Summary:
    """What a listing tells of a record."""
    return Summary(
        record.key,
        record.created,
        record.last_used,
        record.expires,
        record.size,
        record.user_id,
        record.version,
    )


# The form for stores that hold one string of bytes. Fixed offsets let a server's script compare the version
# and rewrite the times; the checksum covers only what such a script leaves alone.
_MUTABLE = struct.Struct(">2sQqq")  # format, version, last_used, expires
_FIXED = struct.Struct(">qqH")  # created, epoch, length of the user id
_CHECKSUM = struct.Struct(">I")
_FORMAT = b"C1"
_NO_USER = 0xFFFF
HEADER_BYTES = _MUTABLE.size + _CHECKSUM.size + _FIXED.size


def pack(record: Record, version: int) -> bytes:
    """The record as bytes, carrying `version`."""
    user = b"" if record.user_id is None else record.user_id.encode()
    length = _NO_USER if record.user_id is None else len(user)
    body = _FIXED.pack(record.created, record.epoch, length) + user + record.data
    head = _MUTABLE.pack(_FORMAT, version, record.last_used, record.expires)
    return head + _CHECKSUM.pack(zlib.crc32(body)) + body


def unpack(key: str, packed: bytes) -> Record:
    """The record that `pack` made; `UnreadableRecord` for anything else, half a record included."""
    try:
        form, version, last_used, expires = _MUTABLE.unpack_from(packed)
        (checksum,) = _CHECKSUM.unpack_from(packed, _MUTABLE.size)
        body = packed[_MUTABLE.size + _CHECKSUM.size :]
        if form != _FORMAT or zlib.crc32(body) != checksum:
            raise UnreadableRecord("it is not a whole record of this version")
        created, epoch, length = _FIXED.unpack_from(body)
        data_at = _FIXED.size + (0 if length == _NO_USER else length)
        user = None if length == _NO_USER else body[_FIXED.size : data_at].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableRecord("it is not a whole record of this version") from error
    return Record(key, created, last_used, expires, body[data_at:], user, epoch, version)
