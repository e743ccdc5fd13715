"""Encryption at rest for any store: the data is sealed, the header stays readable.

So listing, purging and touching need no key. The identity of a session and its user (key, user, epoch,
creation) is authenticated with the data, and so is a tombstone's content: a record not sealed by one of our
keys for this session and user is unreadable. Last use, expiry, version and listings are not authenticated,
and an older record of the same session can be restored.
"""

from collections.abc import Coroutine
from typing import Any

from msgspec.structs import replace

from ...crypto import KeyRing
from ...record import Record, RecordOrSummary, Version
from ..base import Store, check_store
from ..queries import pass_on_abilities


class EncryptedStore:
    """A store that seals records with the newest secret of a key ring, and opens them with any.

    `load` raises `UnreadableRecord` for any other record; there is no fallback to plain ones.
    """

    def __init__(self, store: Store, keys: KeyRing) -> None:
        check_store("EncryptedStore", store)
        if not isinstance(keys, KeyRing):  # the message must not show a secret
            raise TypeError(f"EncryptedStore: keys: expected KeyRing(secret), got {type(keys).__name__}.")
        self.name: str = store.name
        self._store, self._keys = store, keys
        pass_on_abilities(store, self)

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        return await self._store.create(self._sealed(record))

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        record = await self._store.load(key)
        if record is None:
            return None
        sealed = record.data[len(_kind(record)) :]
        return replace(record, data=self._keys.decrypt(sealed, _context(record)))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`."""
        return await self._store.save(self._sealed(record), expected=expected)

    # These need no key. No coroutine functions: each call costs one coroutine, that of the store.

    def touch(
        self, key: str, *, expected: Version, last_used: int, expires: int
    ) -> Coroutine[Any, Any, bool]:
        """See `Store.touch`."""
        return self._store.touch(key, expected=expected, last_used=last_used, expires=expires)

    def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> Coroutine[Any, Any, bool]:
        """See `Store.delete`."""
        return self._store.delete(key, expected=expected)

    def ping(self) -> Coroutine[Any, Any, None]:
        """See `Store.ping`."""
        return self._store.ping()

    def close(self) -> Coroutine[Any, Any, None]:
        """See `Store.close`."""
        return self._store.close()

    def _sealed(self, record: Record) -> Record:
        return replace(record, data=_kind(record) + self._keys.encrypt(record.data, _context(record)))


def _kind(record: Record) -> bytes:
    """Return the tombstone mark, for a store without the key; `load` does not rely on it."""
    return record.data[:1] if record.is_tombstone else b""


def _context(record: Record) -> bytes:
    user = "" if record.user_id is None else f"{record.epoch} {record.user_id}"
    return f"record {record.key} {record.created} {user}".encode()
