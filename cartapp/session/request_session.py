"""The session of one request: loading, committing, and the cookie for the response. No HTTP here."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from .commit import Commit, CommitResult
from .cookies import CookieWriter
from .durations import Duration
from .errors import SessionEnded, SessionError, UnreadableRecord
from .hooks import call_all, logger
from .manager import SessionManager
from .operations import Changes
from .policy import LONGEST_COOKIE, PROVISIONAL_LIFETIME, Lifetime
from .record import Record, key_from_id, new_id
from .session import ALL_TASKS, Session

Events = list[Callable[[], Awaitable[None]]]
"""Hooks to call after the commit."""


class RequestSession:
    """Loads and commits the session of one request, and computes its cookie.

    `read_cookie` returns the value of the session cookie, or None.
    """

    # Class attributes, not set per request: most requests never use their session.
    _parsed = False  # whether the cookie was decoded
    _cookie: str | None = None  # the received value, once decoded
    _id: str | None = None
    _key: str | None = None
    _committed = False  # whether this request wrote anything
    _commit_lock: asyncio.Lock | None = None  # one commit of this session at a time
    _is_loading = False  # one load at a time
    _load_finished: asyncio.Event | None = None  # for concurrent loads
    _eager = False  # whether to create a session without data
    _has_new_lifetime = False  # whether the cookie needs another Max-Age
    _destroyed = False  # whether this request ended a session; then none without data is created
    cleared: bool = False
    """Whether to remove the cookie."""
    can_set_cookie = True
    """False once the response has started, and over a WebSocket."""
    read_only = False
    """Whether commits are skipped."""
    is_prefetch = False
    """Whether a browser prefetches the page; such a request is read-only."""

    def __init__(self, manager: SessionManager, read_cookie: Callable[[], str | None]) -> None:
        self._manager = manager
        self._policy = manager.policy
        self._read_cookie = read_cookie

    def _parse_cookie(self) -> None:
        if not self._parsed:
            self._parsed = True
            self._cookie = self._read_cookie()
            session_id, self._store = self._manager.transport.decode(self._cookie)
            self._records = self._manager.records(self._store)
            self._set_id(session_id)

    def _set_id(self, session_id: str | None) -> None:
        """Set the session ID, or clear it."""
        self._id = session_id
        self._key = None if session_id is None else key_from_id(session_id)

    @property
    def has_id(self) -> bool:
        """Whether the request carries a well-formed session ID."""
        self._parse_cookie()
        return self._id is not None

    @property
    def has_cookie(self) -> bool:
        """Whether the request has a session cookie, valid or not."""
        self._parse_cookie()
        return self._cookie is not None

    @property
    def handle(self) -> str:
        """The public handle of the present session, or of the one that the next commit creates."""
        if self._key is None:
            self._set_id(new_id())
        assert self._key is not None  # noqa: S101 - the key of the new ID
        return self._key

    def cookie(self) -> str | None:
        """Return the cookie value to set; None if the received cookie, or no cookie, is still right."""
        if not self._committed or self._id is None or self._key is None:
            return None
        value = self._manager.transport.encode(self._id, self._key, self._store)
        if value == self._cookie and not self._has_new_lifetime and self._policy.max_age <= LONGEST_COOKIE:
            return None
        return value  # an unchanged one as well where browsers would drop it before the session expires

    def set_cookie(self, session: Session, writer: CookieWriter) -> str | None:
        """Return the `Set-Cookie` value of the response; None without one."""
        value = self.cookie()
        if value is not None:
            return writer.format(value, self.seconds_left(session) if self._is_persistent(session) else None)
        return writer.format("", 0) if self.cleared else None

    def seconds_left(self, session: Session) -> int:
        """Return the rest of a committed session's absolute lifetime, for the cookie's Max-Age."""
        age = max(0, self._manager.clock() - session.record.created) if session.record else 0
        return max(1, round((self._lifetime(session).total - age) / 1000))

    def _is_persistent(self, session: Session) -> bool:
        own = self._lifetime(session).persistent
        return self._manager.cookie.persistent if own is None else own

    def _lifetime(self, session: Session) -> Lifetime:
        return self._policy.lifetime(session.record.data if session.record else b"")

    def check_lifetime(
        self, ttl: Duration | None, max_age: Duration | None, persistent: bool | None
    ) -> dict[str, float | bool]:
        """See `SessionPolicy.check_lifetime`."""
        return self._policy.check_lifetime(ttl, max_age, persistent)

    # -- loading ------------------------------------------------------------------------------------------

    async def load(self, session: Session) -> None:
        """Fill the session from the store. An ID that the store does not know is dropped, never adopted.

        A concurrent call waits for the first one, and loads only if that failed.
        """
        while self._is_loading:
            self._load_finished = self._load_finished or asyncio.Event()
            await self._load_finished.wait()
        if session.loaded:
            return
        self._is_loading = True
        try:
            self._parse_cookie()
            self._fill(session, None if self._key is None else await self._load_current(self._key))
        finally:
            self._is_loading = False
            if self._load_finished is not None:
                self._load_finished.set()
                self._load_finished = None

    def _fill(self, session: Session, record: Record | None) -> None:
        try:
            session.fill(record)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", self.handle, error)
            session.fill(None)
        if session.record is None:
            self._set_id(None)

    async def _load_current(self, key: str) -> Record | None:
        """Load the record; delete it, and return None, if `is_current` rejects its user.

        The delete compares versions: the request that ended the log-in may have rotated the session since.
        """
        conflicts = self._records.conflict_backoff()
        while True:
            record = await self._records.read(key)
            if record is None or record.is_tombstone or await self._records.is_current(record):
                return record
            if await self._store.delete(record.key, expected=record):
                logger.info("Session %s ended: its user or epoch is no longer current", record.key)
                await self._policy.hooks.deleted(record)
                return None
            await anext(conflicts)

    async def successor_user(self, session: Session) -> str | None:
        """See `Session.successor_user`."""
        if session.record is None or not session.record.is_tombstone:
            return None
        successor = await self._records.successor(session.record)
        if successor is None or not await self._records.is_current(successor):
            return None
        return successor.user_id

    # -- committing ---------------------------------------------------------------------------------------

    async def commit(self, session: Session, author: object = ALL_TASKS) -> None:
        """Write the recorded changes, and update the session to the committed state.

        After a failure or a cancellation the session shows the previous committed state, so that a handler
        which continues does not commit the rest. Hooks run last, without the lock: they may save as well.
        """
        lock = self._commit_lock
        if (lock is None or not lock.locked()) and self._is_commit_needless(session):
            return
        if lock is None:
            lock = self._commit_lock = asyncio.Lock()
        try:
            await lock.acquire()
        except asyncio.CancelledError as error:
            session.withdraw(author, error)
            raise
        changes, events = None, Events()
        try:
            changes = session.take_changes(author, keep=self.read_only)
            if not self.read_only:
                await self._commit(session, changes, events)
        except BaseException as error:
            if changes is not None:
                session.discard(changes, author, error)
            raise
        finally:
            lock.release()
            if events:
                await call_all(events)

    def _is_commit_needless(self, session: Session) -> bool:
        """Return whether a commit would neither write nor raise: a shortcut for requests that only read."""
        record = session.record
        return record is not None and session.is_untouched and not self._records.is_keep_alive_due(record)

    async def finish(self, session: Session, *, failed: bool) -> None:
        """Commit before the first byte of the response; after a failure (5xx) only a `destroy`."""
        if failed:
            if session.loaded and session.changes.destroyed:
                session.revert()
                session.destroy()
                await self.commit(session)
            return
        if session.loaded:
            await self.commit(session)

    async def begin(self, session: Session) -> None:
        """Create a session without data for a client that has none.

        Not after `destroy`, where there is none either: if the received cookie was a tombstone's, a new
        cookie would undo the log-in of another request.
        """
        self._parse_cookie()
        if self._cookie is None:
            await session.load()  # no I/O without an ID
        if session.loaded and session.record is None and not self._destroyed:
            self._eager = True
            await self.commit(session)

    async def check_writable(self, session: Session) -> None:
        """See `Session.check_writable`. Touches the session, or creates and deletes a short-lived record."""
        record = session.record
        if record is not None and not record.is_tombstone:
            await self._records.touch(record)
            return
        now = self._manager.clock()
        draft = Record("", now, now, now + PROVISIONAL_LIFETIME, b"{}")
        _, probe = await self._records.insert(new_id(), draft)
        await self._store.delete(probe.key, expected=probe)

    async def _commit(self, session: Session, changes: Changes, events: Events) -> None:
        if changes and self._manager.transport.holds_record:
            self._require_cookie()
        if changes.destroyed:
            self._destroyed = True
            if not await self._destroy(session.record, events) and changes.operations:
                raise SessionEnded  # a new cookie would undo the log-in of another request
            session.destroyed_record, session.record = session.record, None
            self._set_id(None)
            await self._create_after_destroy(session, changes, events)
        elif session.record is None:
            await self._create(session, changes, events)
        elif changes:
            await self._change(session, session.record, changes, events)
        else:
            kept = await self._records.keep_alive(session.record)
            self._committed |= kept is not session.record
            session.show_committed(kept)

    async def _create_after_destroy(self, session: Session, changes: Changes, events: Events) -> None:
        """Create the session that was started after `destroy`; errors state that the former one has ended."""
        try:
            await self._create(session, changes, events)
        except SessionError as error:
            error.args = (f"The session was ended, but the values set afterwards were not saved. {error}",)
            raise

    async def _create(self, session: Session, changes: Changes, events: Events) -> None:
        commit = Commit(self._records, changes, None)
        draft = commit.draft()
        is_empty = draft.data == b"{}" and draft.user_id is None
        if is_empty and (self._destroyed or not self._eager):
            session.show_committed(None)
            return
        self._require_cookie()
        self._accept(session, await commit.create(self._id or new_id(), draft), events)

    def _require_cookie(self) -> None:
        """Raise `SessionError` if a change would be lost because no cookie can be set."""
        if not self.can_set_cookie:
            raise SessionError(
                "This change needs a new session cookie. Neither a WebSocket nor a response that has started "
                "can set one."
            )

    async def _change(self, session: Session, record: Record, changes: Changes, events: Events) -> None:
        if changes.rotating:
            self._require_cookie()
        commit = Commit(self._records, changes, record)
        lock = await self._manager.locks.acquire(record.key)
        try:
            latest, lock.latest = lock.latest, None
            result = await commit.change(latest)
            if result.wrote and result.record.key == record.key:  # never across IDs
                lock.latest = result.record
        finally:
            self._manager.locks.release(record.key, lock)
        self._has_new_lifetime |= self._lifetime(session) != self._policy.lifetime(result.record.data)
        self._accept(session, result, events)

    def _accept(self, session: Session, result: CommitResult, events: Events) -> None:
        """Show the committed state, use its ID for the cookie, and queue its hooks."""
        hooks, record = self._policy.hooks, result.record
        if result.session_id is not None:
            self._set_id(result.session_id)
            if result.rotated_from is None:
                events.append(partial(hooks.started, record))
            else:
                events.append(partial(hooks.regenerated, result.rotated_from, record.key))
        self._committed |= result.wrote
        session.show_committed(record, result.raws)

    async def _destroy(self, own: Record | None, events: Events) -> bool:
        """Delete the session, also under a new ID that another request has just given it.

        Return False if it continues as the session of another user, which stays logged in. The cookie is
        removed only if it was this session's: a late response must not touch a newer one.
        """
        record, conflicts = own, self._records.conflict_backoff()
        while record is not None:
            if record.is_tombstone:
                if await self._records.successor(record) is None:
                    return True
                record = await self._records.successor(record, same_user=True)
                if record is None:
                    return False
            if await self._store.delete(record.key, expected=record):
                self.cleared |= own is not None and record.key == own.key
                events.append(partial(self._policy.hooks.deleted, record))
                return True
            await anext(conflicts)
            record = await self._records.read(record.key)
        return True
