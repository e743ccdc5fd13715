"""One request's session: loaded, committed, and the cookie that follows. No HTTP here."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from .carriers import Carrier
from .commit import Commit, Committed, Records
from .errors import SessionEnded, SessionError, UnreadableRecord
from .hooks import call_all, logger
from .locks import SessionLocks
from .operations import Changes
from .policy import LONGEST_COOKIE, PROVISIONAL_LIFETIME, OnCount, Policy
from .record import Clock, Record, key_of, new_id, now
from .session import EVERYONE, Session
from .stores.base import Store

Events = list[Callable[[], Awaitable[None]]]
"""Hooks to call after the commit."""


class Manager:
    """What the requests of one application and process have in common.

    `on_count` is called with the name of whatever is counted: see `SessionMiddleware`.
    """

    def __init__(
        self, carrier: Carrier, policy: Policy, *, clock: Clock = now, on_count: OnCount | None = None
    ) -> None:
        self.carrier = carrier
        self.policy = policy
        self.clock = clock
        self.locks = SessionLocks()
        self._on_count = on_count
        self._records: Records | None = None

    def count(self, what: str) -> None:
        """One more of it."""
        if self._on_count is not None:
            self._on_count(what)

    def records(self, store: Store) -> Records:
        """The records of a store, under this policy: mostly the same store for every request."""
        if self._records is None or self._records.store is not store:
            self._records = Records(store, self.policy, self.clock, self.count)
        return self._records


class Visit:
    """The keeper of one request's session: loads it, commits it, and knows the cookie that follows.

    `read_cookie` gives our cookie's value, if one came.
    """

    _parsed = False  # whether the cookie was looked into; most requests never ask for their session
    _cookie: str | None = None  # what came, once it was looked into
    _id: str | None = None
    _key: str | None = None
    _committed = False  # whether this visit wrote anything
    _saving: asyncio.Lock | None = None  # one commit of this session at a time
    _is_loading = False  # one load at a time
    _load_ended: asyncio.Event | None = None  # for the loads that wait for it
    _eager = False  # whether a session without data is created
    _destroyed = False  # whether a session was ended here, so that none without data is created
    cleared = False  # whether the cookie is to be removed
    can_set_cookie = True  # until the answer begins; over a WebSocket never
    read_only = False  # whether nothing is committed
    is_prefetch = False  # whether a browser asks for a page in advance; such a request is read-only

    def __init__(self, manager: Manager, read_cookie: Callable[[], str | None]) -> None:
        self._manager = manager
        self._policy = manager.policy
        self._read_cookie = read_cookie

    def _parse_cookie(self) -> None:
        if not self._parsed:
            self._parsed = True
            self._cookie = self._read_cookie()
            session_id, self._store = self._manager.carrier.arrive(self._cookie)
            self._records = self._manager.records(self._store)
            self._set_id(session_id)

    def _set_id(self, session_id: str | None) -> None:
        """Set the session ID, or clear it."""
        self._id = session_id
        self._key = None if session_id is None else key_of(session_id)

    @property
    def has_id(self) -> bool:
        """Whether a well-formed id came with the request."""
        self._parse_cookie()
        return self._id is not None

    @property
    def handle(self) -> str:
        """The public handle of the session that there is, or that the next commit makes."""
        if self._key is None:
            self._set_id(new_id())
        assert self._key is not None  # noqa: S101 - it is the key of the new id
        return self._key

    def cookie(self) -> str | None:
        """The value to set as the cookie, or None when the one that came, if any, still holds."""
        if not self._committed or self._id is None or self._key is None:
            return None
        value = self._manager.carrier.leave(self._id, self._key, self._store)
        if value == self._cookie and self._policy.max_age <= LONGEST_COOKIE:
            return None
        return value  # also one that came, where browsers forget it before the session ends

    def seconds_left(self, session: Session) -> int:
        """How much of its absolute lifetime a committed session has left: the cookie's Max-Age."""
        age = max(0, self._manager.clock() - session.record.created) if session.record else 0
        return max(1, round(self._policy.max_age - age / 1000))

    # -- loading ------------------------------------------------------------------------------------------

    async def load(self, session: Session) -> None:
        """Fill the session; an id that the store does not know is forgotten, never adopted.

        A load that comes while another one is under way does what that one leaves to do.
        """
        while self._is_loading:
            self._load_ended = self._load_ended or asyncio.Event()
            await self._load_ended.wait()
        if session.loaded:
            return
        self._is_loading = True
        try:
            self._parse_cookie()
            self._fill(session, await self._accepted(self._key) if self._key is not None else None)
        finally:
            self._is_loading = False
            if self._load_ended is not None:
                self._load_ended.set()
                self._load_ended = None

    def _fill(self, session: Session, record: Record | None) -> None:
        try:
            session.fill(record)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", self.handle, error)
            session.fill(None)
        if session.record is None:
            self._set_id(None)

    async def _accepted(self, key: str) -> Record | None:
        """Read the record; the session ends when the application no longer accepts its user.

        Only if it is still the record that was read: the request that ended the former log-in may have
        rotated the session in the meantime.
        """
        conflicts = self._records.pauses()
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

    async def commit(self, session: Session, author: object = EVERYONE) -> None:
        """Make what the session recorded true in the store, and the session show what is true.

        When that fails, or is cancelled, the session shows what was committed before, so that a handler which
        goes on after the error does not commit the rest. Hooks are called at the end: they may save, too.
        """
        lock = self._saving
        if (lock is None or not lock.locked()) and self._has_nothing_to_do(session):
            return
        if lock is None:
            lock = self._saving = asyncio.Lock()
        try:
            await lock.acquire()
        except asyncio.CancelledError as error:
            session.withdraw(author, error)
            raise
        changes, events = None, Events()
        try:
            changes = session.take(author, keep=self.read_only)
            if not self.read_only:
                await self._commit(session, changes, events)
        except BaseException as error:
            if changes is not None:
                session.drop(changes, author, error)
            raise
        finally:
            lock.release()
            if events:
                await call_all(events)

    def _has_nothing_to_do(self, session: Session) -> bool:
        """Return whether a commit would neither write nor raise, so that most of it can be left out."""
        record = session.record
        return record is not None and session.is_untouched and not self._records.keep_alive_is_due(record)

    async def finish(self, session: Session, *, failed: bool) -> None:
        """The commit before the first byte; of a failed request (5xx) only the end of a session counts."""
        if failed:
            if session.loaded and session.changes.destroyed:
                session.revert()
                session.destroy()
                await self.commit(session)
            return
        if session.loaded:
            await self.commit(session)

    async def begin(self, session: Session) -> None:
        """Commit a session without data, for a visitor that has none yet.

        After `destroy` there is none either, but a new cookie would undo the log-in of another request when
        the cookie that came was of a tombstone.
        """
        self._parse_cookie()
        if self._cookie is None:
            await session.load()  # without an id this asks no store
        if session.loaded and session.record is None and not self._destroyed:
            self._eager = True
            await self.commit(session)

    async def check_writable(self, session: Session) -> None:
        """See `Session.check_writable`: a use of the session is stored, or a record that lives a moment."""
        record = session.record
        if record is not None and not record.is_tombstone:
            await self._records.touch(record)
            return
        now = self._manager.clock()
        draft = Record("", now, now, now + PROVISIONAL_LIFETIME, b"{}")
        _, probe = await self._records.insert(new_id(), draft)
        await self._store.delete(probe.key, expected=probe)

    async def _commit(self, session: Session, changes: Changes, events: Events) -> None:
        if changes and self._manager.carrier.holds_record:
            self._need_cookie()
        if changes.destroyed:
            self._destroyed = True
            if not await self._destroy(session.record, events) and changes.operations:
                raise SessionEnded  # a new cookie would undo the log-in of another request
            session.record = None
            self._set_id(None)
            await self._create_after_end(session, changes, events)
        elif session.record is None:
            await self._create(session, changes, events)
        elif changes:
            await self._change(session, session.record, changes, events)
        else:
            kept = await self._records.keep_alive(session.record)
            self._committed |= kept is not session.record
            session.settle(kept)

    async def _create_after_end(self, session: Session, changes: Changes, events: Events) -> None:
        """Create the session that was begun after `destroy`; an error says that the former one has ended."""
        try:
            await self._create(session, changes, events)
        except SessionError as error:
            error.args = (f"The session was ended, but what was set afterwards was not saved. {error}",)
            raise

    async def _create(self, session: Session, changes: Changes, events: Events) -> None:
        commit = Commit(self._records, changes, None)
        draft = commit.draft()
        stores_something = draft.data != b"{}" or draft.user_id is not None
        if not stores_something and (self._destroyed or not self._eager):
            session.settle(None)
            return
        self._need_cookie()
        self._take_over(session, await commit.create(self._id or new_id(), draft), events)

    def _need_cookie(self) -> None:
        """Raises `SessionError` when the change would be lost for want of a cookie."""
        if not self.can_set_cookie:
            raise SessionError(
                "This needs a new session cookie, which neither a WebSocket nor a begun answer can set."
            )

    async def _change(self, session: Session, record: Record, changes: Changes, events: Events) -> None:
        if changes.rotating:
            self._need_cookie()
        commit = Commit(self._records, changes, record)
        lock = await self._manager.locks.acquire(record.key)
        try:
            latest, lock.latest = lock.latest, None
            committed = await commit.change(latest)
            if committed.wrote and committed.record.key == record.key:  # never across ids
                lock.latest = committed.record
        finally:
            self._manager.locks.release(record.key, lock)
        self._take_over(session, committed, events)

    def _take_over(self, session: Session, committed: Committed, events: Events) -> None:
        """Show what was committed; it is what the cookie is for from now on."""
        hooks, record = self._policy.hooks, committed.record
        if committed.session_id is not None:
            self._set_id(committed.session_id)
            if committed.rotated_from is None:
                events.append(partial(hooks.started, record))
            else:
                events.append(partial(hooks.regenerated, committed.rotated_from, record.key))
        self._committed |= committed.wrote
        session.settle(record, committed.raws)

    async def _destroy(self, own: Record | None, events: Events) -> bool:
        """Delete the session, also under the ID that another request gives it meanwhile.

        False when it goes on as the session of another user, whose log-in is left alone. The cookie is
        removed only when it was the session's: a late response must not touch a newer one.
        """
        record, conflicts = own, self._records.pauses()
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
