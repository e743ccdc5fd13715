"""Session ID, key and record: frozen values without I/O.

The ID is the secret in the cookie: 256 bits from `secrets`. A store contains only the key, the first 16 bytes
of the ID's SHA-256, so that read access to the store grants no access to a session (CVE-2019-16782).
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
"""Version of a record, compared by `save`. Opaque to all but the store that assigned it."""

Clock = Callable[[], int]
"""Milliseconds since 1970-01-01 UTC."""

LATEST = 253_402_300_799_999
"""The last millisecond of the year 9999, beyond which no `datetime` exists."""

ID_LENGTH = 43
KEY_LENGTH = 22

# 43 base64url characters hold 258 bits, so the two lowest bits of the last one must be 0.
_ID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_KEY = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")


# A separate generator: `secrets` makes a system call each time, and an application may seed the shared one.
_versions = Random()  # noqa: S311 - not for secrets
os.register_at_fork(after_in_child=_versions.seed)  # or the child would repeat its parent's numbers


def now() -> int:
    """Return the time of the system clock in milliseconds; a `Clock`."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """Return a new session ID: 32 random bytes as 43 base64url characters."""
    return secrets.token_urlsafe(32)


def new_version() -> int:
    """Return a unique version: 63 random bits, not secret.

    For stores without a counter: a record that was lost and created again must not match an old version.
    """
    return _versions.getrandbits(63)


def is_id(text: str) -> bool:
    """Return whether the text has the exact form of a session ID, known or not."""
    return _ID.fullmatch(text) is not None


def is_key(text: str) -> bool:
    """Return whether the text has the exact form of a key, which is also the public handle."""
    return _KEY.fullmatch(text) is not None


def key_from_id(session_id: str) -> str:
    """Return the key of a session ID in stores, also its public handle: 22 base64url characters."""
    digest = sha256(session_id.encode()).digest()[:16]
    return b2a_base64(digest, newline=False)[:KEY_LENGTH].translate(_URL_SAFE).decode()


# The data of a session begins with "{", or with 0x01 if encrypted, and that of a tombstone with a mark.
# Tombstones of early versions have no data.
_SAME_USER, _OTHER_USER = b"=", b">"
PLACEHOLDER = b"~"
"""First byte of the data of a placeholder: a note that copying keeps in a store."""
_TOMBSTONES = frozenset((b"", _SAME_USER, _OTHER_USER, PLACEHOLDER))


class Record(msgspec.Struct, frozen=True):
    """One session as a store holds it. Times are milliseconds since 1970 UTC.

    A tombstone marks an ID given up in a rotation; the session continues as its successor. It has no user
    (see `make_tombstone`).

    A placeholder counts as a tombstone for stores and listings, and as absent for requests; see
    `admin.copy_ledger`.
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
        """Whether this marks an ID given up in a rotation; also true for a placeholder."""
        return self.data[:1] in _TOMBSTONES

    @property
    def is_placeholder(self) -> bool:
        """Whether this is a note of `admin.copy_ledger`."""
        return self.data[:1] == PLACEHOLDER

    @property
    def successor(self) -> str | None:
        """The key of the session that continues after a tombstone; None for a session."""
        key = self.data[1:].decode("latin-1") if self.is_tombstone else ""
        return key if is_key(key) else None

    @property
    def kept_user(self) -> bool:
        """Whether the rotation of this tombstone kept the user; also true if both were guests."""
        return self.data[:1] == _SAME_USER

    @property
    def size(self) -> int:
        """Length of a session's data in bytes; 0 for a tombstone."""
        return 0 if self.is_tombstone else len(self.data)


class Summary(msgspec.Struct, frozen=True):
    """A record without its data, as listings yield it; `size` is the length of the data in bytes."""

    key: str
    created: int
    last_used: int
    expires: int
    size: int
    user_id: str | None = None
    version: Version = 0


RecordOrSummary = Record | Summary
"""What a caller knows of a record: enough for `delete` to compare it."""


def make_tombstone(record: Record, successor: Record, expires: int) -> Record:
    """Return the tombstone of a record after a rotation to `successor`.

    It contains the key of the successor, which grants no access. It has no user, since the header of a record
    is not authenticated.
    """
    kind = _SAME_USER if successor.user_id == record.user_id else _OTHER_USER
    data = kind + successor.key.encode()
    return Record(record.key, record.created, record.last_used, expires, data, version=record.version)


def summarize(record: Record) -> Summary:
    """Return the summary of a record for listings."""
    return Summary(
        record.key,
        record.created,
        record.last_used,
        record.expires,
        record.size,
        record.user_id,
        record.version,
    )


def check_times(created: int, last_used: int, expires: int) -> None:
    """Raise `UnreadableRecord` unless the times of a stored record are times from 1970 to 9999."""
    if not (0 <= created <= LATEST and 0 <= last_used <= LATEST and 0 <= expires <= LATEST):
        raise UnreadableRecord("its times are out of range")


# The format for stores that hold one byte string. Fixed offsets let a server-side script compare the version
# and rewrite the times; the checksum covers only what such a script does not change.
_MUTABLE = struct.Struct(">2sQqq")  # format, version, last_used, expires
_FIXED = struct.Struct(">qqH")  # created, epoch, length of the user id
_CHECKSUM = struct.Struct(">I")
_EXPIRES = struct.Struct(">q")
_EXPIRES_AT = _MUTABLE.size - _EXPIRES.size
_FORMAT = b"C1"
_NO_USER = 0xFFFF
HEADER_BYTES = _MUTABLE.size + _CHECKSUM.size + _FIXED.size


def pack(record: Record, version: int) -> bytes:
    """Return the record as bytes, with `version`."""
    user = b"" if record.user_id is None else record.user_id.encode()
    length = _NO_USER if record.user_id is None else len(user)
    body = _FIXED.pack(record.created, record.epoch, length) + user + record.data
    head = _MUTABLE.pack(_FORMAT, version, record.last_used, record.expires)
    return head + _CHECKSUM.pack(zlib.crc32(body)) + body


def unpack(key: str, packed: bytes) -> Record:
    """Return the record of bytes from `pack`. Raises `UnreadableRecord` for others, also truncated ones."""
    try:
        form, version, last_used, expires = _MUTABLE.unpack_from(packed)
        (checksum,) = _CHECKSUM.unpack_from(packed, _MUTABLE.size)
        body = packed[_MUTABLE.size + _CHECKSUM.size :]
        if form != _FORMAT or zlib.crc32(body) != checksum:
            raise UnreadableRecord("it is not a complete record of this version")
        created, epoch, length = _FIXED.unpack_from(body)
        data_at = _FIXED.size + (0 if length == _NO_USER else length)
        user = None if length == _NO_USER else body[_FIXED.size : data_at].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableRecord("it is not a complete record of this version") from error
    check_times(created, last_used, expires)
    return Record(key, created, last_used, expires, body[data_at:], user, epoch, version)


def is_expired(packed: bytes | memoryview, now: int) -> bool:
    """Return whether a packed record is expired. Raises `UnreadableRecord`."""
    if len(packed) < HEADER_BYTES:
        raise UnreadableRecord("it is not a complete record of this version")
    expires: int = _EXPIRES.unpack_from(packed, _EXPIRES_AT)[0]
    return expires <= now


def unpack_summary(key: str, head: bytes, length: int) -> Summary | None:
    """Return the summary of a packed record of `length` bytes from its first bytes, without the checksum.

    Return None if the bytes are too few for the user. Raises `UnreadableRecord`.
    """
    try:
        form, version, last_used, expires = _MUTABLE.unpack_from(head)
        created, _, user_length = _FIXED.unpack_from(head, _MUTABLE.size + _CHECKSUM.size)
        data_at = HEADER_BYTES + (0 if user_length == _NO_USER else user_length)
        if form != _FORMAT or data_at > length:
            raise UnreadableRecord("it is not a complete record of this version")
        if len(head) < min(data_at + 1, length):
            return None
        user = None if user_length == _NO_USER else head[HEADER_BYTES:data_at].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise UnreadableRecord("it is not a complete record of this version") from error
    check_times(created, last_used, expires)
    size = 0 if head[data_at : data_at + 1] in _TOMBSTONES else length - data_at
    return Summary(key, created, last_used, expires, size, user, version)
