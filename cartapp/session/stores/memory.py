"""The `memory` backend: sessions in this process's memory, for one worker and for tests.

No operation awaits between its read and its write, so each is atomic on the event loop without a lock. Use a
store on one event loop only.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Final
from urllib.parse import SplitResult

from msgspec.structs import replace

from ..errors import InvalidStoreURL, StoreUnavailable
from ..record import Clock, Record, RecordOrSummary, Summary, Version, now, summarize
from .backend import Backend, StoreOptions, URLParts
from .base import Store

_NEVER = 2**63 - 1
_STEP = 1000  # records between two iterations of the event loop: about a millisecond


class MemoryStore:
    """A store of at most `max_records` records, tombstones included.

    A full store drops expired records. It never evicts a live session: `create` raises `StoreUnavailable` if
    there is no room.
    """

    name = "memory"

    def __init__(self, *, clock: Clock = now, max_records: int = 100_000) -> None:
        self._clock = clock
        self._max_records = max_records
        self._records: dict[str, Record] = {}
        self._first_expiry = _NEVER  # nothing expires earlier, which saves a full store useless scans

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`. Raises `StoreUnavailable` when the store is full of live sessions."""
        if self._live(record.key) is not None:
            return None
        self._make_room()
        return self._put(record, 1)

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        return self._live(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`; an expired record counts as missing."""
        stored = self._live(record.key)
        if stored is None or stored.version != expected:
            return None
        return self._put(record, int(expected) + 1)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`; an expired record counts as missing."""
        stored = self._live(key)
        if stored is None or stored.version != expected:
            return False
        self._put(replace(stored, last_used=last_used, expires=expires), int(expected))
        return True

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`."""
        stored = self._records.get(key)
        if stored is None:
            return False
        if expected and (stored.version, stored.last_used) != (expected.version, expected.last_used):
            return False
        del self._records[key]
        return True

    async def ping(self) -> None:
        """Do nothing: memory is always available."""

    async def close(self) -> None:
        """Remove all records."""
        self._records.clear()

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """See `Listable.scan`."""
        for keys in self._steps():
            for key in keys:
                found = self._live(key)
                if found is None or found.is_tombstone or user_id not in (None, found.user_id):
                    continue
                yield summarize(found)
            await asyncio.sleep(0)

    async def purge(self, now: int) -> int:
        """See `Purgeable.purge`."""
        removed = 0
        for keys in self._steps():
            removed += self._drop_expired(keys, now)
            await asyncio.sleep(0)
        return removed

    async def count_expired(self, now: int) -> int:
        """See `Countable.count_expired`."""
        return sum(record.expires <= now for record in self._records.values())

    def _live(self, key: str) -> Record | None:
        found = self._records.get(key)
        return found if found is not None and found.expires > self._clock() else None

    def _put(self, record: Record, version: int) -> int:
        self._records[record.key] = replace(record, version=version)
        self._first_expiry = min(self._first_expiry, record.expires)
        return version

    def _steps(self) -> Iterator[list[str]]:
        """Return the current keys in lists of `_STEP`; the dict may change between them."""
        keys = list(self._records)
        return (keys[start : start + _STEP] for start in range(0, len(keys), _STEP))

    def _drop_expired(self, keys: list[str], now: int) -> int:
        expired = [key for key in keys if (found := self._records.get(key)) and found.expires <= now]
        for key in expired:
            del self._records[key]
        return len(expired)

    def _make_room(self) -> None:
        if len(self._records) < self._max_records:
            return
        now = self._clock()
        if self._first_expiry <= now:
            self._drop_expired(list(self._records), now)
            self._first_expiry = min((record.expires for record in self._records.values()), default=_NEVER)
        if len(self._records) >= self._max_records:
            raise StoreUnavailable(f"The memory store holds its limit of {self._max_records} sessions.")


def _open(url: SplitResult, options: StoreOptions) -> Store:
    if url.netloc or url.path or url.query or url.fragment:
        raise InvalidStoreURL("A memory store's URL is memory:// with nothing after it.")
    return MemoryStore(clock=options.clock)


def _build_url(parts: URLParts) -> str:  # noqa: ARG001 - the signature of `Backend.build_url`
    return "memory://"


MEMORY: Final = Backend("memory", ("memory",), _open, _build_url, local_schemes=("memory",), shared=False)
