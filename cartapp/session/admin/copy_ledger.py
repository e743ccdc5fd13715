"""The ledger of copied sessions, and the other notes that copies keep in stores.

A session that ended in the target of a copy looks like one that was never copied, so copies are recorded.
Every note is a placeholder (see `record`): never listed, absent for requests, and unreachable by any cookie.

- The mark, in the source: a random secret that identifies the source under any URL, and keys the hashes of
  session contents. An emptied source has lost it.
- The ledger, in the target: an entry for each copied session, in up to 1024 chunks by the first bits of the
  session's key, and a head with the numbers of the existing chunks.
- A reservation, in the target: it holds the key of a session until the ledger has its entry.
"""

import asyncio
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from operator import attrgetter
from secrets import token_bytes
from struct import Struct
from typing import Final

from msgspec.structs import replace

from ..errors import StoreUnavailable, UnreadableRecord
from ..record import PLACEHOLDER, Clock, Record, Version, key_from_id, new_version
from ..stores.base import Purgeable, Store

CHUNKS: Final = 1024
"""With a million entries a chunk has 68 KB. Files and memcached limit a record to 1 MiB."""

# Hashes of texts that are not session IDs, so no session has these keys.
_MARK: Final = key_from_id("copy: mark")
_HEAD: Final = key_from_id("copy: chunks")
_CHUNK_KEYS: Final = [key_from_id(f"copy: chunk {number}") for number in range(CHUNKS)]

_LIFETIME: Final = 400 * 86_400_000  # milliseconds; the longest cookie lifetime (RFC 6265bis, 5.5)
_SECRET_BYTES: Final = 32
_FORMAT: Final = PLACEHOLDER + b"1"
_ENTRY: Final = Struct(">16s4s8sqq8s8sq")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
ATTEMPTS: Final = 10
"""Attempts to create a record at a key with an unloadable record."""
_GENTLE_ATTEMPTS: Final = 5  # attempts before an unconditional delete
_PAUSE: Final = 0.01  # seconds between attempts

UNKNOWN: Final = bytes(8)
"""Placeholder for a missing hash or number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of a copied session after its last copy."""

    source: bytes
    """The name of the mark that keyed `content`."""
    content: bytes
    """The hash of the session in the source at the last copy."""
    last_used: int
    """Its last use in the source, and in the target until it is used there."""
    expires: int
    """When the target's record expires without use. If it is missing before, the session was ended."""
    reservation: bytes = UNKNOWN
    """The number of the reservation in the target that the session replaced."""
    replaced: bytes = UNKNOWN
    """The hash of the target's version that this copy replaces. If it is still there, the copy was killed."""
    replaced_use: int = 0
    """The last use of that version; 0 if the session had been used in the target."""


_fields = attrgetter(*(field.name for field in fields(Entry)))  # `astuple` copies each value


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the ledger, as last read or written."""

    number: int
    entries: Mapping[str, Entry]
    """By session key."""
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The identity of a source; a copied store has the same mark."""

    secret: bytes

    @classmethod
    def random(cls) -> "Mark":
        """Return a mark that no ledger contains."""
        return cls(token_bytes(_SECRET_BYTES))

    @property
    def name(self) -> bytes:
        """The name in entries: it identifies the mark without revealing the secret."""
        return blake2b(self.secret, digest_size=4, person=b"name").digest()

    def content(self, record: Record) -> bytes:
        """Return a hash of the session without its times.

        The target does not contain the key of the hash, so it cannot confirm a guess of encrypted data.
        """
        head = f"{record.key} {record.created} {record.epoch} {record.user_id!r} ".encode()
        return blake2b(head + record.data, digest_size=8, key=self.secret).digest()


def hash_version(version: Version) -> bytes:
    """Return a hash of a version."""
    return blake2b(repr(version).encode(), digest_size=8).digest()


def chunk_number(key: str) -> int:
    """Return the number of the chunk for a key."""
    return int.from_bytes(raw_key(key)[:2]) >> 6


def raw_key(key: str) -> bytes:
    """Decode a session key to its 16 bytes."""
    return a2b_base64(key.encode().translate(_FROM_URL) + b"==")


def key_from(raw: bytes) -> str:
    """Encode 16 bytes as a session key."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def make_reservation(record: Record) -> Record:
    """Return a reservation of a session, with its user: some stores index users only on `create`."""
    return replace(record, data=PLACEHOLDER + new_version().to_bytes(len(UNKNOWN)))


def reservation_number(record: Record) -> bytes:
    """Return the random number of a reservation."""
    return record.data[len(PLACEHOLDER) :]


async def find_mark(store: Store) -> Mark | None:
    """Return the mark of a store; None if it is missing or unreadable."""
    try:
        record = await store.load(_MARK)
        return None if record is None else _decode_mark(record)
    except UnreadableRecord:
        return None


async def get_or_create_mark(store: Store, clock: Clock) -> Mark:
    """Return the mark of a store, creating it if it is missing; it then lives for another 400 days."""
    for attempt in range(ATTEMPTS):
        now = clock()
        mark = Mark.random()
        expires = now + _LIFETIME
        if await store.create(Record(_MARK, now, now, expires, _FORMAT + mark.secret)) is not None:
            return mark
        try:
            found = await store.load(_MARK)
            if found is None:
                await clear_expired(store, _MARK, clock, attempt)
            elif await store.touch(_MARK, expected=found.version, last_used=now, expires=expires):
                return _decode_mark(found)
        except UnreadableRecord:
            await store.delete(_MARK)
    raise StoreUnavailable(f"The {store.name} store does not keep the mark of a copy.")


async def clear_expired(store: Store, key: str, clock: Clock, attempt: int) -> None:
    """Remove an expired record that still occupies its key.

    SQL databases keep expired records until a purge, other servers until their own clock reaches the expiry.
    An unconditional delete comes last, since another copy may have created a record by then.
    """
    if attempt >= _GENTLE_ATTEMPTS:
        await store.delete(key)
    elif isinstance(store, Purgeable):
        await store.purge(clock())
    else:
        await asyncio.sleep(_PAUSE)


def _decode_mark(record: Record) -> Mark:
    secret = _body(record.data)
    if len(secret) != _SECRET_BYTES:
        raise UnreadableRecord("it has another length")
    return Mark(secret)


class Ledger:
    """The ledger in one store. Its methods raise `UnreadableRecord` with a sentence for operators."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def numbers(self, needed: Iterable[int] = ()) -> list[int]:
        """Return the numbers of the chunks with entries; first add the `needed` ones to the head."""
        needed_bits = sum(1 << number for number in set(needed))
        while True:
            record = await self._load(_HEAD)
            present = int.from_bytes(_body(record.data)) if record else 0
            numbers = [number for number in range(CHUNKS) if (present | needed_bits) >> number & 1]
            if not needed_bits:
                return numbers
            data = _FORMAT + (present | needed_bits).to_bytes(CHUNKS // 8)
            if await self._replace(_HEAD, record, data, self._clock() + _LIFETIME):
                return numbers

    async def read(self, number: int) -> Chunk:
        """Load a chunk."""
        record = await self._load(_CHUNK_KEYS[number])
        return Chunk(number, _decode_entries(record.data) if record else {}, record)

    async def write(self, seen: Chunk, changes: Mapping[str, Entry]) -> Chunk:
        """Change entries and return the new chunk.

        An entry that another process has changed since `seen` was read remains as that process left it.
        """
        chunk = seen
        while True:
            now = self._clock()
            valid = {key: entry for key, entry in chunk.entries.items() if entry.expires > now}
            ours = {k: v for k, v in changes.items() if chunk.entries.get(k) == seen.entries.get(k)}
            if not ours:
                return chunk
            entries = {**valid, **ours}
            expires = max(entry.expires for entry in entries.values())
            record = await self._replace(
                _CHUNK_KEYS[seen.number], chunk.record, _encode_entries(entries), expires
            )
            if record:
                return Chunk(seen.number, entries, record)
            chunk = await self.read(seen.number)

    async def _load(self, key: str) -> Record | None:
        try:
            record = await self._store.load(key)
            if record is not None and len(_body(record.data)) % (
                _ENTRY.size if key != _HEAD else CHUNKS // 8
            ):
                raise UnreadableRecord("it has another length")
        except UnreadableRecord as error:
            raise UnreadableRecord(
                f"The {self._store.name} store's ledger of copied sessions is unreadable in record {key}: "
                f"{error}. Without that record sessions that ended in the store could be copied again."
            ) from error
        return record

    async def _replace(self, key: str, seen: Record | None, data: bytes, expires: int) -> Record | None:
        """Write a record over the `seen` one and return it; None if that has changed."""
        now = self._clock()
        record = Record(key, now, now, expires, data)
        if seen is None:
            version = await self._create(record)
        else:
            version = await self._store.save(record, expected=seen.version)
        return None if version is None else replace(record, version=version)

    async def _create(self, record: Record) -> Version | None:
        for attempt in range(ATTEMPTS):
            version = await self._store.create(record)
            if version is not None or await self._load(record.key) is not None:
                return version
            await clear_expired(self._store, record.key, self._clock, attempt)
        raise StoreUnavailable(f"The {self._store.name} store does not keep the ledger of copied sessions.")


def _encode_entries(entries: Mapping[str, Entry]) -> bytes:
    return _FORMAT + b"".join(_ENTRY.pack(raw_key(key), *_fields(entry)) for key, entry in entries.items())


def _decode_entries(data: bytes) -> dict[str, Entry]:
    return {key_from(raw): Entry(*fields) for raw, *fields in _ENTRY.iter_unpack(_body(data))}


def _body(data: bytes) -> bytes:
    """Return the content of a note. Raises `UnreadableRecord`."""
    if not data.startswith(_FORMAT):
        raise UnreadableRecord("it is not a note of this version")
    return data[len(_FORMAT) :]
