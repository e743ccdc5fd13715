"""Sessions outside a request: what the command line, account pages and scripts use."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from . import codec
from .errors import StoreNotSupported, UnreadableRecord
from .hooks import Hooks
from .record import Clock, Record, Summary, is_key, now
from .retry import pauses
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


_CONTENTION = 5.0  # seconds to compete with requests that keep changing a session that is being ended


class Sessions:
    """All sessions of one store. Every method may raise `StoreUnavailable`.

    A session that gets a new ID while it is being ended ends under that one. Ending raises `SessionBusy` when
    requests keep changing the session for five seconds.

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

    @property
    def can_list(self) -> bool:
        """Whether the backend can tell what it holds."""
        return isinstance(self._store, Listable)

    async def find(self, user: str | None = None) -> AsyncIterator[SessionInfo]:
        """All live sessions, or one user's, in no order and bounded memory."""
        async for summary in self._listable().scan(user_id=user):
            yield _info(summary, summary.size)

    async def end(self, handle: str, *, user: str | None = None) -> bool:
        """End a session at once and return whether there was one; with `user` only one of that user's."""
        return await self._end(await self._load(handle), user) if is_key(handle) else False

    async def end_user(self, user: str, *, keep: str | None = None) -> int:
        """End all sessions of a user, but for the handle `keep`; returns their number."""
        return await self._end_all(user, keep)

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
        return await self._delete(record)

    async def clear(self) -> int:
        """End every session; returns their number."""
        return await self._end_all()

    async def _end_all(self, user: str | None = None, keep: str | None = None) -> int:
        """End what listings find, until one after the first finds nothing that had begun before.

        A session that gets a new ID during a listing may be in neither place when the listing looks there. It
        is missed if that happens in two listings, one after the other.
        """
        began = self._clock()
        ended, _ = await self._end_listed(user, keep, began)
        older = 1
        while older:
            found, older = await self._end_listed(user, keep, began)
            ended += found
        return ended

    async def _end_listed(self, user: str | None, keep: str | None, began: int) -> tuple[int, int]:
        """End what one listing finds; return the number of sessions ended, and of those begun before."""
        ended = older = 0
        async for summary in self._listable().scan(user_id=user):
            if summary.key != keep and await self._end(summary, user):
                ended += 1
                older += summary.created <= began
        return ended, older

    async def _end(self, seen: Record | Summary | None, user: str | None) -> bool:
        """Delete what was seen, or what the session has become since; return whether there was a session."""
        conflicts = pauses(_CONTENTION)
        while seen is not None:
            if isinstance(seen, Record) and seen.is_tombstone:
                seen = await self._load(seen.successor) if seen.successor else None
            elif user is not None and seen.user_id != user:
                return False
            elif isinstance(seen, Summary) and self._hooks.on_deleted is not None:
                seen = await self._load(seen.key)  # the hook gets its data
            elif await self._delete(seen):
                return True
            else:
                await anext(conflicts)
                seen = await self._load(seen.key)
        return False

    async def _delete(self, seen: Record | Summary) -> bool:
        if not await self._store.delete(seen.key, expected=seen):
            return False
        if isinstance(seen, Record):
            await self._hooks.deleted(seen)
        return True

    async def purge(self) -> int:
        """Remove the records that have expired; 0 where the backend does that by itself."""
        if isinstance(self._store, Purgeable):
            return await self._store.purge(self._clock())
        return 0

    async def count_expired(self) -> int:
        """How many records `purge` would remove now; 0 where the backend removes them by itself."""
        return await self._store.count_expired(self._clock()) if isinstance(self._store, Countable) else 0

    async def _record(self, handle: str) -> Record | None:
        record = await self._load(handle) if is_key(handle) else None
        return None if record is None or record.is_tombstone else record

    async def _load(self, key: str) -> Record | None:
        """Load a live record or a tombstone; an unreadable record counts as absent."""
        try:
            record = await self._store.load(key)
        except UnreadableRecord:
            return None
        return None if record is None or record.expires <= self._clock() else record

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
