"""The commit of one session's changes: apply them, compare-and-set, and retry on a conflict.

A no-op or an exception counts only on a record that this request loaded itself: a record that an earlier
commit in this process wrote may be older than the loaded one.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import TypeVar

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
from .policy import PROVISIONAL_LIFETIME, TOMBSTONE_LIFETIME, SessionPolicy
from .record import Clock, Record, key_from_id, make_tombstone, new_id
from .retry import backoff
from .stores.base import Store

T = TypeVar("T")

OnCount = Callable[[str], None]
"""Called with the name of an event; see `SessionManager`."""

_EXTEND_TIMEOUT = 0.5  # seconds


class Records:
    """Live records of a store under a policy. Knows no cookies and no session changes."""

    def __init__(self, store: Store, policy: SessionPolicy, clock: Clock, count: OnCount) -> None:
        self.store: Store = store
        self.policy: SessionPolicy = policy
        self.clock: Clock = clock
        self.count: OnCount = count

    async def read(self, key: str) -> Record | None:
        """Return the live record or tombstone; None also for an unreadable record, which is logged."""
        try:
            record = await self.store.load(key)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", key, error)
            return None
        if record is None or not self.policy.is_live(record, self.clock()):
            return None
        return record

    async def successor(self, record: Record | None, *, same_user: bool = False) -> Record | None:
        """Follow tombstones to the live record; with `same_user` only through rotations of the same user."""
        while record is not None and record.is_tombstone:
            if record.successor is None or (same_user and not record.kept_user):
                return None
            record = await self.read(record.successor)
        return record

    async def is_current(self, record: Record) -> bool:
        """Return whether the application accepts the record's user and epoch; always for guests."""
        is_current = self.policy.is_current
        if is_current is None or record.user_id is None:
            return True
        answer: object = is_current(record.user_id, record.epoch)
        if not isawaitable(answer):
            raise TypeError(
                "SessionPolicy.is_current: expected an async function (user_id, epoch), "
                f"got {is_current!r}, which returned {answer!r}."
            )
        return bool(await answer)

    async def insert(self, session_id: str, draft: Record) -> tuple[str, Record]:
        """Create a record with this session ID, or with a new one if its key is taken."""
        while True:
            record = replace(draft, key=key_from_id(session_id))
            version = await self.store.create(record)
            if version is not None:
                return session_id, replace(record, version=version)
            session_id = new_id()  # never take over another session's key

    def is_keep_alive_due(self, record: Record) -> bool:
        """Return whether to store a use: once an interval, and after a rotation that left a short expiry."""
        if record.is_tombstone:
            return False
        if self.policy.is_keep_alive_due(record, self.clock()):
            return True
        return record.expires < self.policy.compute_expiry(record.created, record.last_used, record.data)

    async def touch(self, record: Record) -> Record:
        """Store the present time as the last use. Raises `StoreUnavailable`."""
        now = self.clock()
        expires = self.policy.compute_expiry(record.created, now, record.data)
        await self.store.touch(record.key, expected=record.version, last_used=now, expires=expires)
        return replace(record, last_used=now, expires=expires)

    async def keep_alive(self, record: Record) -> Record:
        """Store a use if that is due. An outage is only logged: the loaded record remains valid."""
        if not self.is_keep_alive_due(record):
            return record
        try:
            return await self.touch(record)
        except StoreUnavailable as error:
            logger.warning("Keep-alive of session %s was not stored: %s", record.key, error)
            return record

    async def conflict_backoff(self) -> AsyncIterator[None]:
        """Yield after each pause of `retry.backoff`, and count a conflict."""
        async for _ in backoff(self.policy.timeout):
            self.count("conflicts")
            yield


@dataclass(slots=True)
class CommitResult:
    """The record after a commit."""

    record: Record
    session_id: str | None = None
    """The new session ID, if there is one."""
    rotated_from: str | None = None
    wrote: bool = True
    raws: codec.Raws | None = None
    """The record's data by key."""


class Commit:
    """One commit of `changes`. `own` is the record that this request loaded or committed last."""

    def __init__(self, records: Records, changes: Changes, own: Record | None) -> None:
        self._records, self._changes, self._own = records, changes, own
        self._raws: codec.Raws | None = None  # the data by key, after the operations
        self._overwritten: set[str] = set()  # keys that were counted as overwritten

    def draft(self) -> Record:
        """Return the record of a new session, without its key."""
        policy, now = self._records.policy, self._records.clock()
        user, epoch = self._changes.new_user or (None, 0)
        data = self._apply(b"{}")
        return Record("", now, now, policy.compute_expiry(now, now, data), data, user, epoch)

    async def create(self, session_id: str, draft: Record) -> CommitResult:
        """Create a session with this ID."""
        session_id, record = await self._write(self._records.insert(session_id, draft))
        return CommitResult(record, session_id)

    async def change(self, latest: Record | None) -> CommitResult:
        """Change the session, starting from `latest`, the record of an earlier commit in this process.

        Raises `SessionEnded` if the session was ended or rotated; a log-in continues with its successor or
        with a new session instead.
        """
        if self._own is not None and self._own.is_tombstone:
            latest = None  # the loaded tombstone is newer than any session under this key
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
                conflicts = conflicts or self._records.conflict_backoff()
                await anext(conflicts)
            record, is_own = await self._records.read(record.key), True

    async def _base(self, record: Record | None, is_own: bool) -> Record | None:
        """Return the record to change; None for a log-in that needs a new session."""
        is_own = record is not None and self._own is not None and record.key == self._own.key
        if record is not None and is_own and not record.is_tombstone:
            return record
        if self._changes.new_user is None or not self._changes.resuming:
            raise SessionEnded
        successor = await self._records.successor(record)
        if successor is None or successor.user_id != self._changes.new_user[0]:
            return None
        return successor if await self._records.is_current(successor) else None

    async def _attempt(self, record: Record, is_own: bool) -> CommitResult | None:
        """Try once; None after a conflict, and if the outcome needs a record loaded by this request."""
        try:
            changed = self._apply_to(record)
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
            return CommitResult(kept, wrote=kept is not record)
        version = await self._write(self._records.store.save(changed, expected=record.version))
        return None if version is None else CommitResult(replace(changed, version=version), raws=self._raws)

    async def _rotate(self, record: Record, changed: Record) -> CommitResult | None:
        """Move the session to a new ID. The tombstone, written by compare-and-set, is the commit point.

        Until then the new record has a short expiry: if the tombstone fails, no client has its ID.
        """
        records, now = self._records, self._records.clock()
        provisional = replace(changed, expires=min(changed.expires, now + PROVISIONAL_LIFETIME))
        session_id, successor = await self._write(records.insert(new_id(), provisional))
        tombstone = make_tombstone(record, successor, now + TOMBSTONE_LIFETIME)
        try:
            version = await records.store.save(tombstone, expected=record.version)
        except StoreUnavailable:
            if not await self._was_rotated(record, successor):
                raise
        else:
            if version is None:
                await records.store.delete(successor.key, expected=successor)
                return None
        return CommitResult(await self._extend_lifetime(successor), session_id, rotated_from=record.key)

    async def _extend_lifetime(self, successor: Record) -> Record:
        """Give the new record its full lifetime, retrying for half a second.

        The client gets the new ID in any case, since the former one is invalid. After a failure the record
        expires within a minute, unless the next request extends it.
        """
        if not self._records.is_keep_alive_due(successor):
            return successor
        attempts = backoff(_EXTEND_TIMEOUT)
        while True:
            try:
                return await self._records.touch(successor)
            except StoreUnavailable as error:
                try:
                    await anext(attempts)
                except SessionBusy:
                    logger.warning("Session %s may expire within a minute: %s", successor.key, error)
                    return successor

    async def _write(self, call: Awaitable[T]) -> T:
        """Await a write. Turns `RecordTooLarge` into `SessionTooLarge`, which names the largest keys."""
        try:
            return await call
        except RecordTooLarge as error:
            raise SessionTooLarge(error.size, error.limit, codec.largest(self._raws or {})) from error

    async def _was_rotated(self, record: Record, successor: Record) -> bool:
        """Return whether the tombstone was stored although the response of the store was lost."""
        try:
            found = await self._records.read(record.key)
        except StoreUnavailable:
            return False
        return found is not None and found.successor == successor.key

    def _apply_to(self, record: Record) -> Record:
        now, changes = self._records.clock(), self._changes
        user, epoch = (None, 0) if changes.cleared else (record.user_id, record.epoch)
        user, epoch = changes.new_user or (user, epoch)
        created = now if changes.new_user else min(record.created, now)  # in case the clock was set back
        data = self._apply(record.data)
        return replace(
            record,
            created=created,
            last_used=now,
            expires=self._records.policy.compute_expiry(created, now, data),
            data=data,
            user_id=user,
            epoch=epoch,
        )

    def _apply(self, data: bytes) -> bytes:
        try:
            raws = codec.split(data)
        except UnreadableRecord:  # garbage replaced the loaded record: the session is absent
            raise SessionEnded from None
        for operation in self._changes.operations:
            operation.apply(raws)
        self._raws, applied = raws, codec.join(raws)
        limit = self._records.policy.max_bytes
        # A session that exceeds a limit lowered since may still shrink.
        if len(applied) > max(limit, len(data)):
            raise SessionTooLarge(len(applied), limit, codec.largest(raws))
        return applied

    def _count_overwritten(self, newer: Record) -> None:
        """Count and log each key that two requests set concurrently; the later one wins."""
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
