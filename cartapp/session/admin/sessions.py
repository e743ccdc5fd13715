"""Sessions outside a request: what the command line, account pages and scripts use."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .. import codec
from ..arguments import check_text, check_timedelta, check_user_id
from ..errors import UnreadableRecord
from ..hooks import Hooks
from ..manager import SessionManager
from ..record import Clock, Record, Summary, is_key, now
from ..retry import backoff
from ..stores.base import Countable, Listable, Purgeable, Store
from ..stores.queries import BatchPurgeable, Query, Queryable
from .listing import OnCount, Pace, delete_many, pages, split


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """Public facts about a session. `size` is that of its data, in bytes."""

    handle: str
    user: str | None
    created: datetime
    last_seen: datetime
    expires: datetime
    size: int
    data: dict[str, Any] | None = None
    """Set by `get` only."""


_CONTENTION = 5.0  # seconds to retry while requests keep changing the session to end


class Sessions:
    """All sessions of a manager or of a store. Every method may raise `StoreUnavailable`.

    A session that is rotated concurrently ends under its new ID. Ending raises `SessionBusy` if requests keep
    changing the session for five seconds. Methods that list raise `StoreNotSupported` if the backend cannot
    list. `hooks`, by default those of the manager, are called for sessions ended here, not for expired ones
    that `purge` removes. An impossible argument raises TypeError or ValueError.
    """

    def __init__(
        self, source: SessionManager | Store, *, hooks: Hooks | None = None, clock: Clock | None = None
    ) -> None:
        if isinstance(source, str):  # the message must not show a password
            raise TypeError("Sessions: expected a SessionManager or a store, got a str: see open_store.")
        if isinstance(source, SessionManager):
            self._store, self._hooks, self._clock = source.store, source.policy.hooks, source.clock
        else:
            self._store, self._hooks, self._clock = source, Hooks(), now
        self._hooks = hooks or self._hooks
        self._clock = clock or self._clock

    async def get(self, handle: str) -> SessionInfo | None:
        """Return a live session with its data, None without one."""
        check_text("Sessions.get: handle", handle)
        record = await self._record(handle)
        if record is None:
            return None
        try:
            return _info(record, len(record.data), codec.decode_all(record.data))
        except UnreadableRecord:
            return None

    @property
    def can_list(self) -> bool:
        """Whether the backend can list sessions."""
        return isinstance(self._store, Listable)

    @property
    def backend(self) -> str:
        """The name of the backend, as `open_store` and the settings spell it."""
        return self._store.name

    @property
    def store(self) -> Store:
        """The session store."""
        return self._store

    async def find(
        self, user: str | None = None, *, query: Query | None = None
    ) -> AsyncIterator[SessionInfo]:
        """Yield all live sessions, or those of a user, unordered and in bounded memory.

        `query` selects them by other conditions.
        """
        async for page in pages(self._store, query or Query(user)):
            for summary in page:
                yield info_from(summary)

    async def end(self, handle: str, *, user: str | None = None) -> bool:
        """End a session and return whether it existed; with `user`, only if it is that user's."""
        check_text("Sessions.end: handle", handle)
        if user is not None:
            check_user_id("Sessions.end: user", user)
        return await self._end(await self._load(handle), user) if is_key(handle) else False

    async def end_user(
        self,
        user: str,
        *,
        keep: str | None = None,
        progress: OnCount | None = None,
        rate: float | None = None,
    ) -> int:
        """End all sessions of a user except the handle `keep`; return their number.

        `progress` and `rate` are those of `clear`.
        """
        check_user_id("Sessions.end_user: user", user)  # None would end the sessions of all users
        if keep is not None:
            check_text("Sessions.end_user: keep", keep)
        return await self._end_all(Pace(progress, rate), user, keep)

    async def end_idle(
        self,
        idle: timedelta,
        *,
        step: timedelta,
        dry_run: bool = False,
        progress: OnCount | None = None,
        rate: float | None = None,
    ) -> int:
        """End the sessions not used for `idle`; return their number.

        `step`, the keep-alive interval, is added to `idle`, since the stored last use may lag that much. A
        session that is used concurrently remains. `progress` and `rate` are those of `clear`.
        """
        query = self.idle_query(idle, step)
        if dry_run and isinstance(self._store, Queryable):
            return await self._store.count(query)
        pace = Pace(progress, rate)
        async for page in pages(self._store, query):
            for some in split(page, pace.batch):
                await pace.add(len(some) if dry_run else await self._end_unused(some))
        return pace.number

    def idle_query(self, idle: timedelta, step: timedelta = timedelta(0)) -> Query:
        """Return the query for sessions not used for `idle` and `step`."""
        check_timedelta("Sessions.end_idle: idle", idle)
        check_timedelta("Sessions.end_idle: step", step)
        return Query(used_before=self._clock() - round((idle + step).total_seconds() * 1000))

    async def _end_unused(self, page: Sequence[Summary]) -> int:
        """End sessions that are unchanged; return their number."""
        if self._hooks.on_deleted is None:
            return (await delete_many(self._store, page))[0]
        ended = 0
        for summary in page:
            record = await self._record(summary.key)  # the hook gets its data
            if record is not None and record.last_used == summary.last_used:
                ended += await self._delete(record)
        return ended

    async def clear(self, *, progress: OnCount | None = None, rate: float | None = None) -> int:
        """End all sessions; return their number.

        `progress` is called with the number so far; `rate` limits it, in sessions a second.
        """
        return await self._end_all(Pace(progress, rate))

    async def _end_all(self, pace: Pace, user: str | None = None, keep: str | None = None) -> int:
        """End all listed sessions, and repeat until a listing finds none that existed at the start.

        A listing may miss a session that is rotated during it; two consecutive listings rarely do.
        """
        began = self._clock()
        await self._end_listed(pace, user, keep, began)
        while await self._end_listed(pace, user, keep, began):
            pass
        return pace.number

    async def _end_listed(self, pace: Pace, user: str | None, keep: str | None, began: int) -> int:
        """End the sessions of one listing; return the number of those that existed at `began`."""
        older = 0
        async for page in pages(self._store, Query(user)):
            for some in split([found for found in page if found.key != keep], pace.batch):
                ended, ended_older = await self._end_some(some, user, began)
                older += ended_older
                await pace.add(ended)
        return older

    async def _end_some(self, page: Sequence[Summary], user: str | None, began: int) -> tuple[int, int]:
        """End sessions, also changed ones; return their number, and that of those that existed at `began`."""
        if self._hooks.on_deleted is not None:
            changed: Collection[str] = [found.key for found in page]
            ended = older = 0
        else:
            ended, changed = await delete_many(self._store, page)
            older = sum(found.created <= began for found in page if found.key not in changed)
        for found in page:
            if found.key in changed and await self._end(found, user):
                ended += 1
                older += found.created <= began
        return ended, older

    async def _end(self, seen: Record | Summary | None, user: str | None) -> bool:
        """Delete the session, also after changes and rotations; return whether it existed."""
        conflicts = backoff(_CONTENTION)
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

    async def purge(self, *, progress: OnCount | None = None, rate: float | None = None) -> int:
        """Remove expired records; return their number, 0 if the backend removes them itself.

        `progress` and `rate` are those of `clear`. Without a rate the backend chooses its batches.
        """
        pace = Pace(progress, rate)
        if isinstance(self._store, BatchPurgeable):
            limit = None if rate is None else pace.batch
            async for number in self._store.purge_batches(self._clock(), limit):
                await pace.add(number)
        elif isinstance(self._store, Purgeable):
            await pace.add(await self._store.purge(self._clock()))
        return pace.number

    async def count_expired(self) -> int:
        """Count the records that `purge` would remove; 0 if the backend removes them itself."""
        return await self._store.count_expired(self._clock()) if isinstance(self._store, Countable) else 0

    async def _record(self, handle: str) -> Record | None:
        record = await self._load(handle) if is_key(handle) else None
        return None if record is None or record.is_tombstone else record

    async def _load(self, key: str) -> Record | None:
        """Load a live record or tombstone; None also for an unreadable record."""
        try:
            record = await self._store.load(key)
        except UnreadableRecord:
            return None
        return None if record is None or record.expires <= self._clock() else record


def info_from(summary: Summary) -> SessionInfo:
    """Return the public facts of a summary."""
    return _info(summary, summary.size)


def _info(record: Record | Summary, size: int, data: dict[str, Any] | None = None) -> SessionInfo:
    return SessionInfo(
        record.key,
        record.user_id,
        time_from(record.created),
        time_from(record.last_used),
        time_from(record.expires),
        size,
        data,
    )


def time_from(milliseconds: int) -> datetime:
    """Return milliseconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
