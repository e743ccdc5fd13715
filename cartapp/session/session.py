"""The session as a handler holds it.

It knows no store and no HTTP: a keeper (the manager) fills it and commits what it recorded.
"""

import logging
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from .codec import Raws
from .errors import StoreUnavailable, UnreadableRecord
from .mapping import RecordingDict, running_task
from .operations import GONE, Changes
from .record import Record
from .typed import typed_view

logger = logging.getLogger("cartapp.session")

FLASHES = "_flash"
"""The key under which queued flashes wait."""

_MISSING: Any = object()
_put = dict.setdefault  # at half the price of super().__setitem__


class Keeper(Protocol):
    """What a session asks of the manager that made it."""

    async def load(self, session: "Session") -> None:
        """Fill the session from the store."""
        ...

    async def commit(self, session: "Session") -> None:
        """Write what the session recorded, and fill it with the committed state."""
        ...

    async def check_writable(self, session: "Session") -> None:
        """Raise `StoreUnavailable` unless the store takes a write now."""
        ...

    async def successor_user(self, session: "Session") -> str | None:
        """The user of the session that goes on under another ID, when this one is a tombstone."""
        ...

    @property
    def handle(self) -> str:
        """The public handle of the session that there is, or that the next commit would make."""
        ...

    @property
    def is_prefetch(self) -> bool:
        """Whether a browser asks for a page in advance."""
        ...


class Session(RecordingDict):
    """One visitor's session: a `dict` of JSON values, datetime, date, Decimal, bytes, UUID and subclasses.

    Reading and writing are plain dict operations without I/O; they raise `SessionNotLoaded` before the
    session was loaded. Writing raises `UnsupportedValue` for a value that cannot be kept. What was written
    is committed before the first byte of the response, or by `await save()`.
    """

    record: Record | None = None  # the committed state; None until there is one
    _is_new = False

    def __init__(self, keeper: Keeper, view: type[Any] | None = None) -> None:
        self._keeper = keeper
        self._view = view
        # The C encoder of json writes an empty dict without asking: an unloaded session must not be empty.
        _put(self, "not loaded")
        # What became of changes that another task's commit took along and failed to store.
        self._failures: dict[object, Exception] = {}

    # -- the keeper's side --------------------------------------------------------------------------------

    def fill(self, record: Record | None) -> None:
        """Show what was loaded. None, and a tombstone, are an empty session."""
        self._reset(_data_of(record))
        self.record = record
        self._is_new = record is None

    def take(self) -> Changes:
        """Take out what was recorded, for one commit: it is committed once, whatever becomes of it.

        Raises the error of another task's commit that failed to store what this task recorded.
        """
        if self._failures and (error := self._failures.pop(running_task(), None)):
            raise error
        changes = self._collect()
        self.changes = Changes()
        return changes

    @property
    def is_untouched(self) -> bool:
        """Whether a commit has nothing to do: nothing was recorded, and no failure is to be raised."""
        return not self._failures and not self.changes and not self._collect()

    def _collect(self) -> Changes:
        try:
            return self.recorded()
        except BaseException:  # a value that cannot be stored, in a list or dict
            self.revert()
            raise

    def settle(self, record: Record | None, raws: Raws | None = None) -> None:
        """Show the committed state, and on top of it what was recorded in the meantime."""
        try:
            self._rebase(_data_of(record), raws)
        except UnreadableRecord as error:
            logger.warning("A session is unreadable after a commit: %s", error)
            self._reset(b"{}")
        self.record = record

    def drop(self, changes: Changes, error: BaseException) -> None:
        """Show the state without changes whose commit failed; others that recorded some get the error."""
        self.settle(self.record)
        if not isinstance(error, Exception):
            error = StoreUnavailable("A save by another task was cancelled; its outcome is not known.")
        task = running_task()
        if task not in changes.authors:
            return  # it saves for others, as the task that `asyncio.wait_for` makes: they wait for it
        for author in changes.authors - {task}:
            self._failures[author] = error

    def revert(self) -> None:
        """Forget what was recorded since the last commit."""
        self._reset(_data_of(self.record))

    # -- loading and saving -------------------------------------------------------------------------------

    async def load(self) -> Self:
        """Load the session if that has not been done. Raises `StoreUnavailable`."""
        if not self.loaded:
            await self._keeper.load(self)
        return self

    async def save(self) -> None:
        """Commit now; afterwards the session shows the committed state.

        Concurrent calls run one after the other. What is recorded while one of them runs belongs to the
        next. A failed or cancelled call is not repeated: its changes are dropped, and when a task saved those
        of other tasks along with its own, each of them gets the error at its own next `save`.

        Raises `SessionEnded`, `SessionTooLarge`, `SessionBusy` or `StoreUnavailable`, and whatever a
        function given to `modify` raised on the newest value; then nothing was stored. After
        `StoreUnavailable`, and after a cancellation, that is not known.
        """
        self._touch()
        await self._keeper.commit(self)

    # -- flashes ------------------------------------------------------------------------------------------

    def flash(
        self, key: str, value: Any = _MISSING, category: str | None = None, *, with_category: bool = False
    ) -> Any:
        """`flash(key, value, category)` queues a message; `flash(key)` removes and returns the oldest.

        Without a message it returns None. With `with_category` the answer is a pair (value, category).
        Two requests may both read one message this way; `take_flash` gives it to exactly one.
        """
        if value is _MISSING:
            return self._take(key).answer(with_category)
        message = [value, category]
        self.modify(FLASHES, lambda queues: {**queues, key: [*queues.get(key, []), message]}, {})
        return None

    async def take_flash(self, key: str, *, with_category: bool = False) -> Any:
        """Remove and return the oldest message, the removal being committed before this returns.

        Of several requests exactly one gets a message; the others get the next one or None. Raises what
        `save` raises. Commits everything else that was recorded as well.
        """
        taken = self._take(key)
        if taken.message is not None:
            await self.save()
        return taken.answer(with_category)

    def _take(self, key: str) -> "_Taken":
        taken = _Taken(key)
        if not self.is_prefetch and key in self.get(FLASHES, ()):
            self.modify(FLASHES, taken.take, {})
        return taken

    # -- life ---------------------------------------------------------------------------------------------

    def regenerate(self) -> None:
        """A new id with the commit; the data stay, the old id is dead."""
        self._touch()
        self.changes.rotating = True
        self._sign()

    def clear(self) -> None:
        """Remove all data, the user as well; the id stays."""
        super().clear()
        self.changes.new_user = None

    def destroy(self) -> None:
        """Remove the session and its cookie with the commit; what is set afterwards begins a new one."""
        self.clear()
        self.changes.operations = []
        self.changes.destroyed = True

    def log_in(self, user_id: str, epoch: int = 0, *, resume: bool = True) -> None:
        """Make this the session of a user, under a new id and with a new absolute lifetime; the data stay.

        It succeeds on a session that another request ended or rotated in the meantime, and with the cookie of
        a rotated one (a log-in whose response was lost): the data of the session under its new id stay when
        that belongs to the same user; otherwise this begins a new session. With `resume=False` it raises
        `SessionEnded` then, as other writes do: for a remembered device, whose requests come in parallel.

        `epoch` comes back to `is_current(user_id, epoch)` on every load, so raising a user's epoch ends all
        of that user's sessions. ASVS 7.2.4: a new id at every log-in.
        """
        self._touch()
        self.changes.new_user, self.changes.resuming = (user_id, epoch), resume
        self.changes.rotating = True
        self._sign()

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` unless the store takes a write now; the data stay as they are.

        For a handler that changes something elsewhere first, and the session afterwards.
        """
        self._touch()
        await self._keeper.check_writable(self)

    async def successor_user(self) -> str | None:
        """Return the user of the session that goes on under a new id, when the cookie has the former one.

        Such a cookie lets nobody in, and `user_id` is None. Raises `StoreUnavailable`.
        """
        self._touch()
        return await self._keeper.successor_user(self)

    @property
    def id(self) -> str:
        """The public handle: safe to show and to log, and of no use as a cookie."""
        self._touch()
        return self._keeper.handle

    @property
    def is_new(self) -> bool:
        """Whether there was no session when the request came."""
        self._touch()
        return self._is_new

    @property
    def is_prefetch(self) -> bool:
        """Whether a browser asks for a page in advance: nothing is committed then, and no flash taken."""
        return self._keeper.is_prefetch

    @property
    def created_at(self) -> datetime | None:
        """When the session began; None before its first commit."""
        return self._time("created")

    @property
    def last_used_at(self) -> datetime | None:
        """The stored last use, exact to a tenth of the idle time-out; None before the first commit."""
        return self._time("last_used")

    @property
    def expires_at(self) -> datetime | None:
        """When the session dies if it is not used again; None before its first commit."""
        return self._time("expires")

    def _time(self, name: str) -> datetime | None:
        self._touch()
        if self.record is None or self.record.is_tombstone:
            return None
        return datetime.fromtimestamp(getattr(self.record, name) / 1000, UTC)

    @property
    def user_id(self) -> str | None:
        """The user that `log_in` was given, also before the commit."""
        self._touch()
        changes = self.changes
        if changes.new_user is not None:
            return changes.new_user[0]
        if changes.destroyed or changes.cleared or self.record is None or self.record.is_tombstone:
            return None
        return self.record.user_id

    @property
    def data(self) -> Any:
        """The typed view, of the class that the middleware was given as `data`."""
        self._touch()
        if self._view is None:
            raise TypeError("The middleware was given no class for the typed view: data=YourClass.")
        return typed_view(self._view, self)


def _data_of(record: Record | None) -> bytes:
    return b"{}" if record is None or record.is_tombstone else record.data


class _Taken:
    """The message that a run of `take` removed; the last run is the one that was committed."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.message: list[Any] | None = None

    def take(self, queues: dict[str, Any]) -> Any:
        queue = queues.pop(self.key, [])
        self.message = queue[0] if queue else None
        if queue[1:]:
            queues[self.key] = queue[1:]
        return queues or GONE

    def answer(self, with_category: bool) -> Any:
        value, category = self.message or (None, None)
        return (value, category) if with_category else value
