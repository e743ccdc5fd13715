"""What travels in the cookie: an id beside a store, or the encrypted record itself."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from functools import lru_cache
from typing import Protocol

from msgspec.structs import replace

from . import codec
from .errors import SessionTooLarge, UnreadableRecord
from .hooks import logger
from .keys import OVERHEAD, KeyRing
from .record import HEADER_BYTES, ID_LENGTH, Record, Seen, Version, is_id, key_of, pack, unpack
from .stores.base import Store

COOKIE_BYTES = 4096
"""What browsers keep of a cookie, name and value together (RFC 6265bis, 5.6)."""

_KEPT_OPEN = 1024  # cookies whose content is remembered: at most some eight megabytes


class Carrier(Protocol):
    """Turns a cookie's value into an id and the place its record is kept, and back."""

    holds_record: bool
    """Whether the record is in the cookie itself, so that a change needs a new one."""

    def arrive(self, cookie: str | None) -> tuple[str | None, Store]:
        """The id in a cookie, None when it is not well-formed, and where to look for its record."""
        ...

    def leave(self, session_id: str, key: str, home: Store) -> str:
        """The cookie's value for a committed session, of which `home` has the record under this key."""
        ...


class IdCarrier:
    """The cookie holds the id; the record is in a store."""

    holds_record = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def arrive(self, cookie: str | None) -> tuple[str | None, Store]:
        """Only the exact form of an id is one; anything else never reaches the store."""
        return (cookie if cookie is not None and is_id(cookie) else None), self._store

    def leave(self, session_id: str, key: str, home: Store) -> str:
        """The id itself."""
        return session_id


class CookieCarrier:
    """The cookie holds the record, sealed by a key ring; there is no store.

    It cannot do what needs a shared memory: nothing can be listed, two requests at once each set their own
    cookie and the later one wins whole, and a copied cookie lives until it expires or its user's epoch is
    raised.
    """

    holds_record = True

    def __init__(self, keys: KeyRing, cookie_name: str) -> None:
        self._keys = keys
        self._context = f"cookie {cookie_name}".encode()
        # The name counts with the longest prefix that it may get.
        self._room = COOKIE_BYTES - len("__Host-") - len(cookie_name)
        # What a cookie holds depends on nothing but the keys, which never change here; whether it still
        # counts is asked afterwards, each time. A page brings the same cookie with each of its requests.
        self._opened = lru_cache(_KEPT_OPEN)(self._open)

    def arrive(self, cookie: str | None) -> tuple[str | None, Store]:
        """The id and the record in a cookie that we sealed; anything else is no session and a log line."""
        home = _Envelope(self._room)
        if not cookie or len(cookie) > COOKIE_BYTES:
            return None, home
        try:
            session_id, record = self._opened(cookie)
        except (UnreadableRecord, Base64Error, UnicodeError) as error:
            logger.warning("A session cookie was refused: %s", error)
            return None, home
        home.put(record)
        return session_id, home

    def _open(self, cookie: str) -> tuple[str, Record]:
        sealed = urlsafe_b64decode((cookie + "=" * (-len(cookie) % 4)).encode("ascii"))
        if _text(sealed) != cookie:
            raise UnreadableRecord("it is no base64url")
        plain = self._keys.open(sealed, self._context)
        session_id = plain[:ID_LENGTH].decode("ascii")
        return session_id, unpack(key_of(session_id), plain[ID_LENGTH:])

    def leave(self, session_id: str, key: str, home: Store) -> str:
        """The record, sealed."""
        assert isinstance(home, _Envelope)  # noqa: S101 - made by `arrive`
        record = home.records[key]
        return _text(self._keys.seal(session_id.encode() + pack(record, int(record.version)), self._context))


def _text(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


class _Envelope:
    """The store of one request: what its cookie held, and what its answer's cookie will hold."""

    name = "cookie"

    def __init__(self, room: int) -> None:
        self._room = room
        self.records: dict[str, Record] = {}

    def put(self, record: Record) -> Version:
        user = len((record.user_id or "").encode())
        size = (ID_LENGTH + HEADER_BYTES + user + len(record.data) + OVERHEAD) * 4 // 3 + 1
        if size > self._room:
            raise SessionTooLarge(size, self._room, codec.largest(codec.split(record.data)))
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

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        return self.records.pop(key, None) is not None

    async def ping(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to close."""
