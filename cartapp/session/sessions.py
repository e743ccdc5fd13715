"""Sessions outside a request: what the command line, account pages and scripts use."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import codec
from .errors import StoreNotSupported, UnreadableRecord
from .hooks import Hooks
from .record import Clock, Record, Summary, is_key, now
from .stores.base import Countable, Listable, Purgeable, Store


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What may be told of a session. `size` is that of its data, in bytes."""

    handle: str
    user: str | None
    created: datetime
    last_seen: datetime
    expires: datetime
    size: int
    data: dict[str, Any] | None = None
    """Only `get` fills this in."""


class Sessions:
    """All sessions of one store. Every method may raise `StoreUnavailable`.

    Those that list raise `StoreNotSupported` where the backend cannot tell what it holds. `hooks` are told
    of what is ended here, but not of what `purge` removes, which had ended before.
    """

    def __init__(self, store: Store, *, hooks: Hooks | None = None, clock: Clock = now) -> None:
        self._store = store
        self._hooks = hooks or Hooks()
        self._clock = clock

    async def get(self, handle: str) -> SessionInfo | None:
        """One live session with its data, by its handle; None when there is none."""
        record = await self._record(handle)
        if record is None:
            return None
        try:
            return _info(record, len(record.data), codec.decode_all(record.data))
        except UnreadableRecord:
            return None

    async def find(self, user: str | None = None) -> AsyncIterator[SessionInfo]:
        """All live sessions, or one user's, in no order and bounded memory."""
        async for summary in self._listable().scan(user_id=user):
            yield _info(summary, summary.size)

    async def end(self, handle: str) -> bool:
        """End a session at once and say whether there was one."""
        record = await self._record(handle)
        if record is None or not await self._store.delete(handle):
            return False
        await self._hooks.deleted(record)
        return True

    async def end_user(self, user: str, *, keep: str | None = None) -> int:
        """End all sessions of a user, but for the handle `keep`; returns their number."""
        ended = 0
        async for summary in self._listable().scan(user_id=user):
            if summary.key != keep:
                ended += await self._end_listed(summary)
        return ended

    async def end_idle(self, idle: timedelta, *, step: timedelta, dry_run: bool = False) -> int:
        """End the sessions not used for `idle`; returns their number.

        `step` is the keep-alive's: a use up to one step after the stored one may not be stored, so it is
        added. A session that is used while this runs stays.
        """
        before = self._clock() - round((idle + step).total_seconds() * 1000)
        ended = 0
        async for summary in self._listable().scan():
            if summary.last_used < before:
                ended += dry_run or await self._end_unused(summary)
        return ended

    async def _end_unused(self, summary: Summary) -> bool:
        record = await self._record(summary.key)
        if record is None or record.last_used != summary.last_used:
            return False
        if not await self._store.delete(record.key, expected=record):
            return False
        await self._hooks.deleted(record)
        return True

    async def clear(self) -> int:
        """End every session; returns their number."""
        ended = 0
        async for summary in self._listable().scan():
            ended += await self._end_listed(summary)
        return ended

    async def _end_listed(self, summary: Summary) -> bool:
        if self._hooks.on_deleted is None:  # so nobody wants to know what was in it
            return await self._store.delete(summary.key)
        return await self.end(summary.key)

    async def purge(self) -> int:
        """Remove the records that have expired; 0 where the backend does that by itself."""
        if isinstance(self._store, Purgeable):
            return await self._store.purge(self._clock())
        return 0

    async def count_expired(self) -> int:
        """How many records `purge` would remove now; 0 where the backend removes them by itself."""
        return await self._store.count_expired(self._clock()) if isinstance(self._store, Countable) else 0

    async def _record(self, handle: str) -> Record | None:
        if not is_key(handle):
            return None
        try:
            record = await self._store.load(handle)
        except UnreadableRecord:
            return None
        if record is None or record.is_tombstone or record.expires <= self._clock():
            return None
        return record

    def _listable(self) -> Listable:
        if not isinstance(self._store, Listable):
            raise StoreNotSupported(f"The {self._store.name} backend cannot list its sessions.")
        return self._store


def _info(record: Record | Summary, size: int, data: dict[str, Any] | None = None) -> SessionInfo:
    return SessionInfo(
        record.key,
        record.user_id,
        _time(record.created),
        _time(record.last_used),
        _time(record.expires),
        size,
        data,
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
