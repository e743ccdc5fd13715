"""The policy: load, commit (compare, replay), keep-alive, expiry, new ids and ends. No HTTP here."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from msgspec.structs import replace

from . import codec
from .carriers import Carrier
from .errors import (
    SessionBusy,
    SessionEnded,
    SessionError,
    SessionTooLarge,
    StoreUnavailable,
    UnreadableRecord,
)
from .hooks import logger
from .operations import Operation, Set
from .policy import TOMBSTONE_LIFETIME, Policy
from .record import Clock, Record, key_of, new_id, now
from .session import Session

OnCount = Callable[[str], None]


class _Turn(asyncio.Lock):
    """One commit at a time for one session in this process; `latest` is handed from each to the next."""

    wanted = 0  # by so many commits
    latest: Record | None = None


class Manager:
    """What the visits of one application and process have in common.

    `on_count` is called with the name of whatever is counted: see `SessionMiddleware`.
    """

    def __init__(
        self, carrier: Carrier, policy: Policy, *, clock: Clock = now, on_count: OnCount | None = None
    ) -> None:
        self.carrier = carrier
        self.policy = policy
        self.clock = clock
        self._on_count = on_count
        self._turns: dict[str, _Turn] = {}

    def count(self, what: str) -> None:
        """One more of it."""
        if self._on_count is not None:
            self._on_count(what)

    async def take_turn(self, key: str) -> _Turn:
        """Wait for the turn of a session, which others wait for until `end_turn`."""
        turn = self._turns.get(key)
        if turn is None:
            turn = self._turns[key] = _Turn()
        turn.wanted += 1
        try:
            await turn.acquire()
        except BaseException:
            self._want_no_more(key, turn)
            raise
        return turn

    def end_turn(self, key: str, turn: _Turn) -> None:
        """Let the next one have the turn."""
        turn.release()
        self._want_no_more(key, turn)

    def _want_no_more(self, key: str, turn: _Turn) -> None:
        turn.wanted -= 1
        if not turn.wanted:  # it was the last commit that wanted it
            del self._turns[key]


class Visit:
    """The keeper of one request's session: loads it, commits it, and knows the cookie that follows.

    `read_cookie` gives our cookie's value, if one came.
    """

    _arrived = False  # whether the cookie was looked into; most requests never ask for their session
    _cookie: str | None = None  # what came, once it was looked into
    _id: str | None = None
    _key: str | None = None
    _committed = False  # whether this visit wrote anything
    _eager = False  # whether a session without data is created
    cleared = False  # whether the cookie is to be removed
    can_set_cookie = True  # until the answer begins; over a WebSocket never
    read_only = False  # whether nothing is committed
    is_prefetch = False  # whether a browser asks for a page in advance; such a request is read-only

    def __init__(self, manager: Manager, read_cookie: Callable[[], str | None]) -> None:
        self._manager = manager
        self._policy = manager.policy
        self._read_cookie = read_cookie

    def _arrive(self) -> None:
        if not self._arrived:
            self._arrived = True
            self._cookie = self._read_cookie()
            session_id, self._store = self._manager.carrier.arrive(self._cookie)
            self._take(session_id)

    def _take(self, session_id: str | None) -> None:
        """Be the visit with this id, or with none."""
        self._id = session_id
        self._key = None if session_id is None else key_of(session_id)

    @property
    def has_id(self) -> bool:
        """Whether a well-formed id came with the request."""
        self._arrive()
        return self._id is not None

    @property
    def handle(self) -> str:
        """The public handle of the session that there is, or that the next commit makes."""
        if self._key is None:
            self._take(new_id())
        assert self._key is not None  # noqa: S101 - it is the key of the new id
        return self._key

    def cookie(self) -> str | None:
        """The value to set as the cookie, or None when the one that came, if any, still holds."""
        if not self._committed or self._id is None or self._key is None:
            return None
        value = self._manager.carrier.leave(self._id, self._key, self._store)
        return None if value == self._cookie else value

    def seconds_left(self, session: Session) -> int:
        """How much of its absolute lifetime a committed session has left: the cookie's Max-Age."""
        age = max(0, self._manager.clock() - session.record.created) if session.record else 0
        return max(1, round(self._policy.max_age - age / 1000))

    # -- loading ------------------------------------------------------------------------------------------

    async def load(self, session: Session) -> None:
        """Fill the session; an id that the store does not know is forgotten, never adopted."""
        self._arrive()
        record = await self._read(self._key) if self._key is not None else None
        if record is not None and record.user_id is not None and not await self._is_current(record):
            record = None
        try:
            session.fill(record)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", self.handle, error)
            session.fill(None)
        if session.record is None:
            self._take(None)

    async def _is_current(self, record: Record) -> bool:
        """Whether the user may still use it; if not, that is its end."""
        is_current = self._policy.is_current
        if is_current is None or record.user_id is None or await is_current(record.user_id, record.epoch):
            return True
        logger.info("Session %s ended: its user or epoch is no longer current", record.key)
        if await self._store.delete(record.key, expected=record):
            await self._policy.hooks.deleted(record)
        return False

    async def _read(self, key: str) -> Record | None:
        """The live record, or a tombstone."""
        try:
            record = await self._store.load(key)
        except UnreadableRecord as error:
            logger.warning("Session %s is unreadable and counts as absent: %s", key, error)
            return None
        if record is None or not self._policy.alive(record, self._manager.clock()):
            return None
        return record

    # -- committing ---------------------------------------------------------------------------------------

    async def commit(self, session: Session) -> None:
        """Make what the session recorded true in the store, and the session show what is true.

        When that fails the session shows what was committed before, so that a handler which goes on after
        the error does not commit the rest.
        """
        try:
            operations = session.recorded()
            if self.read_only:
                return
            if self._manager.carrier.holds_record and (operations or session.renewing or session.ending):
                self._need_cookie()
            if session.ending:
                await self._end(session)
            if session.record is None:
                await self._create(session, operations)
            elif operations or session.renewing:
                await self._change(session, session.record, operations)
            elif self._keep_alive_is_due(session.record):
                session.record = await self._kept_alive(session.record)
        except Exception:
            session.revert()
            raise

    async def finish(self, session: Session, *, failed: bool) -> None:
        """The commit before the first byte; of a failed request (5xx) only the end of a session counts."""
        if failed:
            if session.ending and not self.read_only:
                await self._end(session)
            return
        if session.loaded:
            await self.commit(session)

    async def begin(self, session: Session) -> None:
        """Commit a session without data, for a visitor that has none yet."""
        self._arrive()
        if self._cookie is None:
            await session.load()  # without an id this asks no store
        if session.loaded and session.record is None:
            self._eager = True
            await self.commit(session)

    async def _create(self, session: Session, operations: list[Operation]) -> None:
        data = self._applied(b"{}", operations)
        wanted = data != b"{}" or session.new_user is not None
        if not wanted and (self.cleared or not self._eager):
            return
        self._need_cookie()
        now = self._manager.clock()
        user, epoch = session.new_user or (None, 0)
        draft = Record(self.handle, now, now, self._policy.expiry(now, now), data, user, epoch)
        session_id, record = await self._insert(self._id or new_id(), draft)
        self._take(session_id)
        self._committed = True
        session.fill(record)
        await self._policy.hooks.started(record)

    def _need_cookie(self) -> None:
        """Raises `SessionError` when the change would be lost for want of a cookie."""
        if not self.can_set_cookie:
            raise SessionError(
                "This needs a new session cookie, which neither a WebSocket nor a begun answer can set."
            )

    async def _insert(self, session_id: str, draft: Record) -> tuple[str, Record]:
        while True:
            record = replace(draft, key=key_of(session_id))
            version = await self._store.create(record)
            if version is not None:
                return session_id, replace(record, version=version)
            session_id = new_id()  # the key was taken: never take over what is not ours

    async def _change(self, session: Session, record: Record, operations: list[Operation]) -> None:
        if record.is_tombstone:
            raise SessionEnded
        if session.renewing:
            self._need_cookie()
        turn = await self._manager.take_turn(record.key)
        try:
            newest = turn.latest or record
            turn.latest = None
            self._count_overwritten(record, newest, operations)
            committed = await self._compete(session, newest, operations)
            turn.latest = committed if committed.key == record.key else None  # never across ids
        finally:
            self._manager.end_turn(record.key, turn)
        session.fill(committed)
        if committed.key != record.key:
            await self._policy.hooks.regenerated(record.key, committed.key)

    async def _compete(self, session: Session, record: Record, operations: list[Operation]) -> Record:
        """Apply, compare and set; when another process was faster, do it again on what it left."""
        attempts = self._attempts()
        while True:
            changed = self._changed(session, record, operations)
            if session.renewing:
                committed = await self._renewed(record, changed)
            elif (changed.data, changed.user_id) == (record.data, record.user_id):
                return await self._kept_alive(record) if self._keep_alive_is_due(record) else record
            else:
                committed = await self._replaced(record, changed)
            if committed is not None:
                return committed
            await anext(attempts)
            newer = await self._read(record.key)
            if newer is None or newer.is_tombstone:
                raise SessionEnded
            self._count_overwritten(record, newer, operations)
            record = newer

    async def _attempts(self) -> AsyncIterator[None]:
        """Pauses between attempts, longer each time and with jitter; `SessionBusy` at the time-out."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._policy.timeout
        pause = 0.001
        while loop.time() < deadline:
            self._manager.count("conflicts")
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, 0.05)
            yield
        raise SessionBusy

    def _changed(self, session: Session, record: Record, operations: list[Operation]) -> Record:
        now = self._manager.clock()
        user, epoch = (None, 0) if session.cleared else (record.user_id, record.epoch)
        user, epoch = session.new_user or (user, epoch)
        created = now if session.new_user else min(record.created, now)  # the clock may have been set back
        return replace(
            record,
            created=created,
            last_used=now,
            expires=self._policy.expiry(created, now),
            data=self._applied(record.data, operations),
            user_id=user,
            epoch=epoch,
        )

    def _applied(self, data: bytes, operations: list[Operation]) -> bytes:
        raws = codec.split(data)
        for operation in operations:
            operation.apply(raws)
        applied = codec.join(raws)
        if len(applied) > self._policy.max_bytes:
            raise SessionTooLarge(len(applied), self._policy.max_bytes, codec.largest(raws))
        return applied

    async def _replaced(self, record: Record, changed: Record) -> Record | None:
        version = await self._store.save(changed, expected=record.version)
        if version is None:
            return None
        self._committed = True
        return replace(changed, version=version)

    async def _renewed(self, record: Record, changed: Record) -> Record | None:
        """The record under a new id. Retiring the old one, by compare-and-set, is the commit point."""
        session_id, renewed = await self._insert(new_id(), changed)
        marker = Record(
            record.key, record.created, record.last_used, self._manager.clock() + TOMBSTONE_LIFETIME, b""
        )
        # An outage here leaves the new record behind, which nobody holds the id of: deleting it could lose
        # the session, since the marker may have been written all the same.
        if await self._store.save(marker, expected=record.version) is None:
            await self._store.delete(renewed.key)
            return None
        self._take(session_id)
        self._committed = True
        return renewed

    def _keep_alive_is_due(self, record: Record) -> bool:
        due = self._policy.keep_alive_is_due(record.last_used, self._manager.clock())
        return due and not record.is_tombstone

    async def _kept_alive(self, record: Record) -> Record:
        now = self._manager.clock()
        expires = self._policy.expiry(record.created, now)
        try:
            await self._store.touch(record.key, expected=record.version, last_used=now, expires=expires)
        except StoreUnavailable as error:
            # What was read is true all the same; the session only lives no longer than it did.
            logger.warning("Keep-alive of session %s was not stored: %s", record.key, error)
            return record
        self._committed = True
        return replace(record, last_used=now, expires=expires)

    async def _end(self, session: Session) -> None:
        """Delete the record as this request saw it; `SessionEnded` when it lives on under another id."""
        record, attempts = session.record, self._attempts()
        while record is not None:
            if record.is_tombstone:
                raise SessionEnded
            if await self._store.delete(record.key, expected=record):
                self.cleared = True
                await self._policy.hooks.deleted(record)
                break
            await anext(attempts)
            record = await self._read(record.key)
        self._take(None)
        session.record = None
        session.ending = False

    def _count_overwritten(self, before: Record, newer: Record, operations: list[Operation]) -> None:
        """Two requests plainly set the same key: the later one wins, and that is said."""
        if newer is before:
            return
        old, new = codec.split(before.data), codec.split(newer.data)
        for operation in operations:
            if not isinstance(operation, Set):
                continue
            theirs = bytes(new.get(operation.key, b""))
            if theirs not in (bytes(old.get(operation.key, b"")), bytes(operation.raw)):
                self._manager.count("overwritten")
                logger.info(
                    "Session %s: %r was set twice at once; the last one won", newer.key, operation.key
                )
