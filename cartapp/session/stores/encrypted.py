"""Encryption at rest, for any store: data are sealed, the header stays readable.

So listing, purging and keep-alive need no key. What identifies a session and its user (key, user, epoch,
creation) is authenticated with the data, and so is what a tombstone says: a record that no key of ours sealed
for this session and this user is unreadable. Not authenticated are the last use, the expiry, the version and
what a listing says; and an older record of the same session can be put back.
"""

from msgspec.structs import replace

from ..keys import KeyRing
from ..record import Record, Version
from .base import Countable, HostLocal, Listable, Purgeable, Store


class EncryptedStore:
    """A store whose records are sealed by the newest secret of a key ring and opened by any of it.

    `load` raises `UnreadableRecord` for a record that was not sealed so; there is no fallback to plain ones.
    """

    def __init__(self, store: Store, keys: KeyRing) -> None:
        self.name = store.name
        self._store, self._keys = store, keys
        # What the store can do beyond the contract needs no key, so it does it itself.
        self.ping, self.close, self.touch, self.delete = store.ping, store.close, store.touch, store.delete
        if isinstance(store, Listable):
            self.scan = store.scan
        if isinstance(store, Purgeable):
            self.purge = store.purge
        if isinstance(store, Countable):
            self.count_expired = store.count_expired
        if isinstance(store, HostLocal):
            self.sweep_lock = store.sweep_lock

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        return await self._store.create(self._sealed(record))

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        record = await self._store.load(key)
        if record is None:
            return None
        sealed = record.data[len(_kind(record)) :]
        return replace(record, data=self._keys.open(sealed, _context(record)))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`."""
        return await self._store.save(self._sealed(record), expected=expected)

    def _sealed(self, record: Record) -> Record:
        return replace(record, data=_kind(record) + self._keys.seal(record.data, _context(record)))


def _kind(record: Record) -> bytes:
    """Return the mark of a tombstone for the store, which has no key; `load` does not rely on it."""
    return record.data[:1] if record.is_tombstone else b""


def _context(record: Record) -> bytes:
    user = "" if record.user_id is None else f"{record.epoch} {record.user_id}"
    return f"record {record.key} {record.created} {user}".encode()
