"""The two forms of the session cookie: an ID for a record in a store, or the encrypted record itself."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Protocol

from msgspec.structs import replace

from . import codec
from .crypto import OVERHEAD, KeyRing
from .errors import SessionTooLarge, UnreadableRecord
from .hooks import logger
from .record import (
    HEADER_BYTES,
    ID_LENGTH,
    Record,
    RecordOrSummary,
    Version,
    is_id,
    key_from_id,
    pack,
    unpack,
)
from .stores.base import Store

COOKIE_BYTES = 4096
"""Limit of browsers for a cookie's name and value together (RFC 6265bis, 5.6)."""


class CookieTransport(Protocol):
    """Translates between a cookie value and a session ID with the store of its record."""

    holds_record: bool
    """Whether the cookie contains the record, so that every change needs a new cookie."""

    def decode(self, cookie: str | None) -> tuple[str | None, Store]:
        """Return the session ID, None for a malformed cookie, and the store of its record."""
        ...

    def encode(self, session_id: str, key: str, store: Store) -> str:
        """Return the cookie value of a committed session; `store` has its record under `key`."""
        ...


class IdTransport:
    """The cookie contains the session ID; the record is in a store."""

    holds_record = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def decode(self, cookie: str | None) -> tuple[str | None, Store]:
        """Accept the exact form of an ID only; nothing else reaches the store."""
        return (cookie if cookie is not None and is_id(cookie) else None), self._store

    def encode(self, session_id: str, key: str, store: Store) -> str:
        """Return the ID."""
        return session_id


class RecordTransport:
    """The cookie contains the record, encrypted by a key ring; there is no store.

    It lacks what needs shared memory: sessions cannot be listed; of two concurrent requests, each with its
    own cookie, the later one replaces the other's changes; and a copied cookie is valid until it expires or
    its user's epoch is raised.
    """

    holds_record = True

    def __init__(self, keys: KeyRing, cookie_name: str) -> None:
        self._keys = keys
        self._context = f"cookie {cookie_name}".encode()
        # The name counts towards the limit, with the longest prefix that it may get.
        self._capacity = COOKIE_BYTES - len("__Host-") - len(cookie_name)

    def decode(self, cookie: str | None) -> tuple[str | None, Store]:
        """Decrypt the ID and the record; log any other cookie, and treat it as none."""
        store = _RequestStore(self._capacity)
        if not cookie or len(cookie) > COOKIE_BYTES:
            return None, store
        try:
            session_id, record = self._decrypt(cookie)
        except (UnreadableRecord, Base64Error, UnicodeError) as error:
            logger.warning("Rejected a session cookie: %s", error)
            return None, store
        store.put(record)
        return session_id, store

    def encode(self, session_id: str, key: str, store: Store) -> str:
        """Encrypt the record."""
        assert isinstance(store, _RequestStore)  # noqa: S101 - made by `decode`
        record = store.records[key]
        plain = session_id.encode() + pack(record, int(record.version))
        return _encode_base64(self._keys.encrypt(plain, self._context))

    def _decrypt(self, cookie: str) -> tuple[str, Record]:
        sealed = urlsafe_b64decode((cookie + "=" * (-len(cookie) % 4)).encode("ascii"))
        if _encode_base64(sealed) != cookie:
            raise UnreadableRecord("it is not base64url")
        plain = self._keys.decrypt(sealed, self._context)
        session_id = plain[:ID_LENGTH].decode("ascii")
        return session_id, unpack(key_from_id(session_id), plain[ID_LENGTH:])


def _encode_base64(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


class _RequestStore:
    """A store for one request: the record of its cookie, and the record for the response's cookie."""

    name = "cookie"

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.records: dict[str, Record] = {}

    def put(self, record: Record) -> Version:
        user = len((record.user_id or "").encode())
        size = (ID_LENGTH + HEADER_BYTES + user + len(record.data) + OVERHEAD) * 4 // 3 + 1
        if size > self._capacity:
            raise SessionTooLarge(size, self._capacity, codec.largest(codec.split(record.data)))
        self.records[record.key] = record
        return record.version

    async def create(self, record: Record) -> Version | None:
        return self.put(replace(record, version=1))

    async def load(self, key: str) -> Record | None:
        return self.records.get(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        return self.put(replace(record, version=int(expected) + 1))

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        self.records[key] = replace(self.records[key], last_used=last_used, expires=expires)
        return True

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        return self.records.pop(key, None) is not None

    async def ping(self) -> None:
        """Do nothing: there is no server."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
