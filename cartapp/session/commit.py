"""One commit of a session's changes: apply, compare, set, and again on what another request wrote.

A conclusion that nothing is to be done, or that a change is not possible, is drawn only from a record that
this request read itself: what a commit before it in this process wrote may be older than what it read.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from . import codec
from .errors import (
    RecordTooLarge,
    SessionBusy,
    SessionEnded,
    SessionTooLarge,
    StoreUnavailable,
    UnreadableRecord,
)
from .hooks import logger
from .operations import Changes, Set
from .policy import PROVISIONAL_LIFETIME, TOMBSTONE_LIFETIME, OnCount, Policy
from .record import Clock, Record, key_of, new_id, tombstone_of
from .retry import pauses
from .stores.base import Store

_FULL_LIFE_TIMEOUT = 0.5  # seconds


class Records:
    """The live records of a store, as a policy sees them. No cookie, and no session's changes, here."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, count: OnCount) -> None:
        self.store, self.policy, self.clock, self.count = store, policy, clock, count

    async def read(self, key: str) -> Record | None:
        """Return the live record, or a tombstone; an unreadable record counts as absent."""
        try:
            record = await self.store.load(key)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", key, error)
            return None
        if record is None or not self.policy.alive(record, self.clock()):
            return None
        return record

    async def successor(self, record: Record | None, *, same_user: bool = False) -> Record | None:
        """Follow tombstones to the live record; with `same_user` only as long as rotations kept the user."""
        while record is not None and record.is_tombstone:
            if record.successor is None or (same_user and not record.kept_user):
                return None
            record = await self.read(record.successor)
        return record

    async def is_current(self, record: Record) -> bool:
        """Return whether the application still accepts the record's user and epoch; a guest's always."""
        is_current = self.policy.is_current
        return is_current is None or record.user_id is None or await is_current(record.user_id, record.epoch)

    async def insert(self, session_id: str, draft: Record) -> tuple[str, Record]:
        """Store a record under this session ID, or under a new one if its key is taken."""
        while True:
            record = replace(draft, key=key_of(session_id))
            version = await self.store.create(record)
            if version is not None:
                return session_id, replace(record, version=version)
            session_id = new_id()  # never take over another session's key

    def keep_alive_is_due(self, record: Record) -> bool:
        """Return whether the last use is to be stored: once a step, and when a rotation left it short."""
        if record.is_tombstone:
            return False
        if self.policy.keep_alive_is_due(record.last_used, self.clock()):
            return True
        return record.expires < self.policy.expiry(record.created, record.last_used)

    async def touch(self, record: Record) -> Record:
        """Store a use of the session now. Raises `StoreUnavailable`."""
        now = self.clock()
        expires = self.policy.expiry(record.created, now)
        await self.store.touch(record.key, expected=record.version, last_used=now, expires=expires)
        return replace(record, last_used=now, expires=expires)

    async def keep_alive(self, record: Record) -> Record:
        """Store a use if that is due. An outage is logged: what was read is true all the same."""
        if not self.keep_alive_is_due(record):
            return record
        try:
            return await self.touch(record)
        except StoreUnavailable as error:
            logger.warning("Keep-alive of session %s was not stored: %s", record.key, error)
            return record

    async def pauses(self) -> AsyncIterator[None]:
        """See `retry.pauses`; each counts as a conflict."""
        async for _ in pauses(self.policy.timeout):
            self.count("conflicts")
            yield


@dataclass(slots=True)
class Committed:
    """What a commit left: the record, the session ID if it is a new one, and whether anything was written."""

    record: Record
    session_id: str | None = None
    rotated_from: str | None = None
    wrote: bool = True
    raws: codec.Raws | None = None
    """The record's data, split."""


class Commit:
    """One commit of `changes`; `own` is the record that this request loaded or committed last."""

    def __init__(self, records: Records, changes: Changes, own: Record | None) -> None:
        self._records, self._changes, self._own = records, changes, own
        self._raws: codec.Raws | None = None  # what the operations made of the data, split
        self._overwritten: set[str] = set()  # the keys that were counted as such

    def draft(self) -> Record:
        """Return a new session's record, whose key is not known yet."""
        policy, now = self._records.policy, self._records.clock()
        user, epoch = self._changes.new_user or (None, 0)
        return Record("", now, now, policy.expiry(now, now), self._applied(b"{}"), user, epoch)

    async def create(self, session_id: str, draft: Record) -> Committed:
        """Store a new session with this ID."""
        with self._sized():
            session_id, record = await self._records.insert(session_id, draft)
        return Committed(record, session_id)

    async def change(self, latest: Record | None) -> Committed:
        """Change the session, starting from `latest` if an earlier commit in this process left it.

        Raises `SessionEnded` when the session was ended or rotated; but a log-in goes on with what succeeds
        it, or with a new session.
        """
        if self._own is not None and self._own.is_tombstone:
            latest = None  # what this request read is newer than any session under this key
        record: Record | None = latest or self._own
        is_own, conflicts = latest is None, None
        while True:
            record = await self._base(record, is_own)
            if record is None:
                return await self.create(new_id(), self.draft())
            committed = await self._attempt(record, is_own)
            if committed is not None:
                return committed
            if is_own:
                conflicts = conflicts or self._records.pauses()
                await anext(conflicts)
            record, is_own = await self._records.read(record.key), True

    async def _base(self, record: Record | None, is_own: bool) -> Record | None:
        """Return the record to change; None for a log-in that begins a new session."""
        is_own = record is not None and self._own is not None and record.key == self._own.key
        if record is not None and is_own and not record.is_tombstone:
            return record
        if self._changes.new_user is None or not self._changes.resuming:
            raise SessionEnded
        successor = await self._records.successor(record)
        if successor is None or successor.user_id != self._changes.new_user[0]:
            return None
        return successor if await self._records.is_current(successor) else None

    async def _attempt(self, record: Record, is_own: bool) -> Committed | None:
        """Try once. None after a conflict, and when only a record read by this request can tell more."""
        try:
            changed = self._changed(record)
        except Exception:
            if is_own:
                raise
            return None
        self._count_overwritten(record)
        if self._changes.rotating:
            return await self._rotate(record, changed)
        if (changed.data, changed.user_id) == (record.data, record.user_id):
            if not is_own:
                return None
            kept = await self._records.keep_alive(record)
            return Committed(kept, wrote=kept is not record)
        with self._sized():
            version = await self._records.store.save(changed, expected=record.version)
        return None if version is None else Committed(replace(changed, version=version), raws=self._raws)

    async def _rotate(self, record: Record, changed: Record) -> Committed | None:
        """Move the session to a new ID. The tombstone, written by compare-and-set, is the commit point.

        Until then the new record expires soon, since no client holds its ID if the tombstone fails.
        """
        records, now = self._records, self._records.clock()
        provisional = replace(changed, expires=min(changed.expires, now + PROVISIONAL_LIFETIME))
        with self._sized():
            session_id, renewed = await records.insert(new_id(), provisional)
        tombstone = tombstone_of(record, renewed, now + TOMBSTONE_LIFETIME)
        try:
            version = await records.store.save(tombstone, expected=record.version)
        except StoreUnavailable:
            if not await self._was_rotated(record, renewed):
                raise
        else:
            if version is None:
                await records.store.delete(renewed.key, expected=renewed)
                return None
        return Committed(await self._with_full_life(renewed), session_id, rotated_from=record.key)

    async def _with_full_life(self, renewed: Record) -> Record:
        """Let the new record live as long as any, now that it is the only one.

        That is tried for half a second: the client gets its ID in any case, since the former one is dead. If
        it fails, the record lives for a minute, or longer from the next request on, which stores its use.
        """
        if not self._records.keep_alive_is_due(renewed):
            return renewed
        attempts = pauses(_FULL_LIFE_TIMEOUT)
        while True:
            try:
                return await self._records.touch(renewed)
            except StoreUnavailable as error:
                try:
                    await anext(attempts)
                except SessionBusy:
                    logger.warning("Session %s lives for a minute only: %s", renewed.key, error)
                    return renewed

    @contextmanager
    def _sized(self) -> Iterator[None]:
        """Name the largest keys when the backend takes no record of this size."""
        try:
            yield
        except RecordTooLarge as error:
            raise SessionTooLarge(error.size, error.limit, codec.largest(self._raws or {})) from error

    async def _was_rotated(self, record: Record, renewed: Record) -> bool:
        """Return whether a tombstone was stored although its answer was lost."""
        try:
            found = await self._records.read(record.key)
        except StoreUnavailable:
            return False
        return found is not None and found.successor == renewed.key

    def _changed(self, record: Record) -> Record:
        now, changes = self._records.clock(), self._changes
        user, epoch = (None, 0) if changes.cleared else (record.user_id, record.epoch)
        user, epoch = changes.new_user or (user, epoch)
        created = now if changes.new_user else min(record.created, now)  # the clock may have been set back
        return replace(
            record,
            created=created,
            last_used=now,
            expires=self._records.policy.expiry(created, now),
            data=self._applied(record.data),
            user_id=user,
            epoch=epoch,
        )

    def _applied(self, data: bytes) -> bytes:
        try:
            raws = codec.split(data)
        except UnreadableRecord:  # garbage in the place of what was loaded: an absent session
            raise SessionEnded from None
        for operation in self._changes.operations:
            operation.apply(raws)
        self._raws, applied = raws, codec.join(raws)
        limit = self._records.policy.max_bytes
        if len(applied) > max(
            limit, len(data)
        ):  # what has been larger since the limit was lowered may shrink
            raise SessionTooLarge(len(applied), limit, codec.largest(raws))
        return applied

    def _count_overwritten(self, newer: Record) -> None:
        """Count and log a key that two requests plainly set: the later one wins."""
        if self._own is None or newer is self._own or newer.key != self._own.key:
            return
        old, new = codec.split(self._own.data), codec.split(newer.data)
        for operation in self._changes.operations:
            if not isinstance(operation, Set) or operation.key in self._overwritten:
                continue
            theirs = bytes(new.get(operation.key, b""))
            if theirs not in (bytes(old.get(operation.key, b"")), bytes(operation.raw)):
                self._overwritten.add(operation.key)
                self._records.count("overwritten")
                logger.info(
                    "Session %s: concurrent requests set %r; the last one won", newer.key, operation.key
                )
