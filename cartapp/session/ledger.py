"""The ledger of copied sessions, and the other notes that copying keeps in stores.

A session that ended in the target of a copy looks like one that was never copied, so what was copied has to
be written down. Every note is a placeholder (see `record`): never listed, absent for visitors, and out of
reach of any cookie.

- The mark, in the source: a random secret that identifies the source whatever its URL, and keys the hashes of
  session contents. A source that was emptied has lost it.
- The ledger, in the target: an entry for each copied session, in up to 1024 chunks by the first bits of the
  session's key, and a head that tells which chunks there are.
- A reservation, in the target: it takes the place of a session until the ledger has its entry.
"""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from hashlib import blake2b
from secrets import token_bytes
from struct import Struct
from typing import Final

from msgspec.structs import replace

from .errors import StoreUnavailable, UnreadableRecord
from .record import PLACEHOLDER, Clock, Record, Version, key_of
from .stores.base import Purgeable, Store

CHUNKS: Final = 1024
"""Those of a million entries have 68 KB each. Files and memcached take records of at most 1 MiB."""

# No session has these keys: they are hashes of texts that are no session IDs.
_MARK: Final = key_of("copy: mark")
_HEAD: Final = key_of("copy: chunks")
_CHUNK_KEYS: Final = [key_of(f"copy: chunk {number}") for number in range(CHUNKS)]

_LIFETIME: Final = 400 * 86_400_000  # milliseconds; no browser keeps a cookie longer (RFC 6265bis, 5.5)
_SECRET_BYTES: Final = 32
_FORMAT: Final = PLACEHOLDER + b"1"
_ENTRY: Final = Struct(">16s4s8sqq8s8sq")
ATTEMPTS: Final = 10
"""At a key that is taken by a record which cannot be loaded."""
_PATIENT: Final = 5  # of these attempts
_PAUSE: Final = 0.01  # seconds between them

UNKNOWN: Final = bytes(8)
"""No hash and no number."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a copied session."""

    source: bytes
    """The name of the mark whose secret keyed `content`."""
    content: bytes
    """The hash of the session in the source when it was copied last."""
    last_used: int
    """Its last use there, and in the target as long as it is not used there."""
    expires: int
    """When the target's record expires if it is not used. Until then its absence is an end."""
    reservation: bytes = UNKNOWN
    """The number of the reservation in the target that the session was written over."""
    replaced: bytes = UNKNOWN
    """The hash of the version in the target that this copy replaces. If it is there, the copy was killed."""
    replaced_use: int = 0
    """The last use of that version; 0 when the session had been used in the target."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the ledger as it was read or written last."""

    number: int
    entries: Mapping[str, Entry]
    """By session key."""
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """The identity of a source; each of two copies of a store has the same."""

    secret: bytes

    @classmethod
    def random(cls) -> "Mark":
        """Return the mark of a source that no copy has ever seen."""
        return cls(token_bytes(_SECRET_BYTES))

    @property
    def name(self) -> bytes:
        """What entries carry: it identifies the mark and does not give the secret away."""
        return blake2b(self.secret, digest_size=4, person=b"name").digest()

    def content(self, record: Record) -> bytes:
        """Return a hash of the session without its times.

        The target does not have the hash's key, so what it holds confirms no guess of encrypted data.
        """
        head = f"{record.key} {record.created} {record.epoch} {record.user_id!r} ".encode()
        return blake2b(head + record.data, digest_size=8, key=self.secret).digest()


def hash_of(version: Version) -> bytes:
    """Return a hash of a version."""
    return blake2b(repr(version).encode(), digest_size=8).digest()


def chunk_of(key: str) -> int:
    """Return the number of the chunk that has the key's entry."""
    return int.from_bytes(raw_key(key)[:2]) >> 6


def raw_key(key: str) -> bytes:
    """Return the 16 bytes of a session key."""
    return urlsafe_b64decode(key + "==")


def key_from(raw: bytes) -> str:
    """Return the session key of 16 bytes."""
    return urlsafe_b64encode(raw).decode().rstrip("=")


def reservation_of(record: Record) -> Record:
    """Return a reservation of a session. It has the user, as some stores index users at creation only."""
    return replace(record, data=PLACEHOLDER + token_bytes(len(UNKNOWN)))


def reservation_number(record: Record) -> bytes:
    """Return the random number of a reservation."""
    return record.data[len(PLACEHOLDER) :]


async def find_mark(store: Store) -> Mark | None:
    """Return the store's mark, if it has one that is readable."""
    try:
        record = await store.load(_MARK)
        return None if record is None else _mark_in(record)
    except UnreadableRecord:
        return None


async def make_mark(store: Store, clock: Clock) -> Mark:
    """Return the store's mark, which is made when it is missing; it lives for 400 days from now."""
    for attempt in range(ATTEMPTS):
        now = clock()
        mark = Mark.random()
        expires = now + _LIFETIME
        if await store.create(Record(_MARK, now, now, expires, _FORMAT + mark.secret)) is not None:
            return mark
        try:
            found = await store.load(_MARK)
            if found is None:
                await make_way(store, _MARK, clock, attempt)
            elif await store.touch(_MARK, expected=found.version, last_used=now, expires=expires):
                return _mark_in(found)
        except UnreadableRecord:
            await store.delete(_MARK)
    raise StoreUnavailable(f"The {store.name} store keeps no mark of being copied.")


async def make_way(store: Store, key: str, clock: Clock, attempt: int) -> None:
    """Wait for an expired record to go that keeps its key taken, and help after a few attempts.

    SQL databases keep expired records until a purge, other servers until their own clock agrees. A record
    that another copy puts there meanwhile has to stay, so deleting without comparing is the last resort.
    """
    if attempt >= _PATIENT:
        await store.delete(key)
    elif isinstance(store, Purgeable):
        await store.purge(clock())
    else:
        await asyncio.sleep(_PAUSE)


def _mark_in(record: Record) -> Mark:
    secret = _body(record.data)
    if len(secret) != _SECRET_BYTES:
        raise UnreadableRecord("it has another length")
    return Mark(secret)


class Ledger:
    """The ledger in one store. Its methods raise `UnreadableRecord` with a sentence for an operator."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def numbers(self, needed: Iterable[int] = ()) -> list[int]:
        """Return the numbers of the chunks that may have entries, and of those that will be `needed`."""
        wanted = sum(1 << number for number in set(needed))
        while True:
            record = await self._load(_HEAD)
            present = int.from_bytes(_body(record.data)) if record else 0
            numbers = [number for number in range(CHUNKS) if (present | wanted) >> number & 1]
            if not wanted:
                return numbers
            data = _FORMAT + (present | wanted).to_bytes(CHUNKS // 8)
            if await self._replace(_HEAD, record, data, self._clock() + _LIFETIME):
                return numbers

    async def read(self, number: int) -> Chunk:
        """Return a chunk."""
        record = await self._load(_CHUNK_KEYS[number])
        return Chunk(number, _entries(record.data) if record else {}, record)

    async def write(self, seen: Chunk, changes: Mapping[str, Entry]) -> Chunk:
        """Change entries, and return the chunk as it is then.

        An entry that another process has changed since `seen` was read stays as that process left it.
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
            record = await self._replace(_CHUNK_KEYS[seen.number], chunk.record, _data(entries), expires)
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
        """Write a record in the place of what was seen there, and return it; None if that has changed."""
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
            await make_way(self._store, record.key, self._clock, attempt)
        raise StoreUnavailable(f"The {self._store.name} store keeps no ledger of copied sessions.")


def _data(entries: Mapping[str, Entry]) -> bytes:
    return _FORMAT + b"".join(_ENTRY.pack(raw_key(key), *astuple(entry)) for key, entry in entries.items())


def _entries(data: bytes) -> dict[str, Entry]:
    return {key_from(raw): Entry(*fields) for raw, *fields in _ENTRY.iter_unpack(_body(data))}


def _body(data: bytes) -> bytes:
    """Return what a note says. Raises `UnreadableRecord`."""
    if not data.startswith(_FORMAT):
        raise UnreadableRecord("it is no note of this version")
    return data[len(_FORMAT) :]
