"""The session as a handler holds it.

It knows no store and no HTTP: a keeper (the manager) fills it and commits what it recorded.
"""

import logging
from collections.abc import Coroutine, Iterable
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from .codec import Raws
from .errors import SessionBusy, StoreUnavailable, UnreadableRecord, UnsupportedValue
from .mapping import Held, RecordingDict, as_stored, has_ended, running_task
from .operations import GONE, Changes
from .record import Record
from .typed import typed_view

logger = logging.getLogger("cartapp.session")

FLASHES = "_flash"
"""The key under which queued flashes wait."""

EVERYONE: Any = object()
"""The author of the commit before the response: it learns of what no save has reported."""

_MISSING: Any = object()
_put = dict.setdefault  # at half the price of super().__setitem__


class Keeper(Protocol):
    """What a session asks of the manager that made it."""

    async def load(self, session: "Session") -> None:
        """Fill the session from the store."""
        ...

    async def commit(self, session: "Session", author: object) -> None:
        """Write what the session recorded, for the task `author`, and fill it with the committed state."""
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

    @property
    def _is_ended(self) -> bool:
        return self.record is not None and self.record.is_tombstone and not self.changes.destroyed

    def fill(self, record: Record | None) -> None:
        """Show what was loaded. None, and a tombstone, are an empty session."""
        self._reset(_data_of(record))
        self.record = record
        self._is_new = record is None

    def take(self, author: object, *, keep: bool = False) -> Changes:
        """Take out what was recorded, for one commit: it is committed once, whatever becomes of it.

        With `keep` it stays, since nothing is committed. Raises what `_raise_failure` raises.
        """
        changes = self.recorded()
        if self._failures:
            self._raise_failure(author)
        if not keep:
            self._taken, self.changes = changes, Changes()
        return changes

    def _raise_failure(self, author: object) -> None:
        """Raise the error of what a task recorded and another task's commit failed to store.

        What a task that has ended should have learnt, any task learns. What the task has recorded since is
        dropped: its save failed. An ended session has lost nothing.
        """
        if self.changes.destroyed:
            self._failures.clear()
        told = [task for task in self._failures if author in (task, EVERYONE) or has_ended(task)]
        if told:
            error = [self._failures.pop(task) for task in told][-1]
            self.withdraw(author, error)
            raise error

    def withdraw(self, author: object, error: BaseException) -> None:
        """Take back what a task recorded, whose save ended before it began.

        Other tasks that lose something by that get the error at their next save.
        """
        self._failures.pop(author, None)
        if self._taken is not None:
            self._taken.authors.discard(author)
        changes = self.recorded()
        if author is EVERYONE:
            self.changes = Changes()
        elif author in changes.whole:
            self.changes = Changes()
            self._fail(changes.authors - {author}, error)
        elif author in changes.authors:
            self._fail(changes.take_back(author), error)
        else:
            return
        self._rebase(self._committed, self._raws)

    def _fail(self, tasks: Iterable[object], error: BaseException) -> None:
        """Remember an error for the next save of each of these tasks."""
        if not isinstance(error, Exception):
            error = StoreUnavailable("A save by another task was cancelled; its outcome is not known.")
        for task in tasks:
            self._failures[task] = error

    def _refuse(self, held: Held, error: UnsupportedValue) -> None:
        self._fail(held.tasks, error)

    @property
    def is_untouched(self) -> bool:
        """Whether a commit has nothing to do: nothing was recorded, and no failure is to be raised."""
        return not self.changes and not self.recorded() and not self._failures

    def settle(self, record: Record | None, raws: Raws | None = None) -> None:
        """Show the committed state, and on top of it what was recorded in the meantime."""
        self._taken = None
        try:
            self._rebase(_data_of(record), raws)
        except UnreadableRecord as error:
            logger.warning("A session is unreadable after a commit: %s", error)
            self._reset(b"{}")
        self.record = record

    def drop(self, changes: Changes, author: object, error: BaseException) -> None:
        """Show the state without changes whose commit failed; their authors other than this get the error."""
        self.settle(self.record)
        if author is not EVERYONE:
            self._fail(changes.authors - {author}, error)

    def revert(self) -> None:
        """Forget what was recorded since the last commit."""
        self._reset(_data_of(self.record))

    # -- loading and saving -------------------------------------------------------------------------------

    async def load(self) -> Self:
        """Load the session if that has not been done. Raises `StoreUnavailable`."""
        if not self.loaded:
            await self._keeper.load(self)
        return self

    async def try_to_load(self) -> None:
        """Load the session before the handler, which gets an outage only when it touches the session."""
        try:
            await self.load()
        except (StoreUnavailable, SessionBusy) as error:
            self._load_error = error

    def save(self) -> Coroutine[Any, Any, None]:
        """Commit now; afterwards the session shows the committed state. To be awaited.

        Concurrent calls run one after the other. What is recorded while one of them runs belongs to the
        next. A failed or cancelled call is not repeated: its changes are dropped, and when a task saved those
        of other tasks along with its own, each of them gets the error at its own next `save`. An error that
        no `save` has raised by then fails the commit before the response.

        Raises `SessionEnded`, `SessionTooLarge`, `SessionBusy`, `UnsupportedValue` or `StoreUnavailable`, and
        whatever a function given to `modify` raised on the newest value; then nothing was stored, but a
        session that was destroyed has ended. After `StoreUnavailable`, and after a cancellation, it is not
        known what was stored.
        """
        # No coroutine function: `wait_for`, `shield` and `gather` await this in a task of their own, but it
        # is the calling task that learns of the outcome.
        self._touch()
        return self._keeper.commit(self, running_task())

    # -- flashes ------------------------------------------------------------------------------------------

    def flash(
        self,
        key: str,
        value: Any = _MISSING,
        category: str | None = None,
        *,
        with_category: bool = False,
        unique: bool = False,
    ) -> Any:
        """`flash(key, value, category)` queues a message; `flash(key)` removes and returns the oldest.

        Without a message it returns None. With `with_category` the answer is a pair (value, category).
        Two requests may both read one message this way; `take_flash` gives it to exactly one.

        With `unique` a message that waits in the queue already is not queued a second time: for a form that a
        browser may send twice.
        """
        if value is _MISSING:
            return self._take(key).answer(with_category)
        message = as_stored(key, [value, category])

        def queue(queues: dict[str, Any]) -> dict[str, Any]:
            waiting = queues.get(key, [])
            return queues if unique and message in waiting else {**queues, key: [*waiting, message]}

        self.modify(FLASHES, queue, {})
        return None

    async def take_flash(self, key: str, *, with_category: bool = False) -> Any:
        """Remove and return the oldest message, the removal being committed before this returns.

        Of several requests exactly one gets a message; the others get the next one or None. Raises what
        `save` raises. Commits everything else that was recorded as well.
        """
        taken = self._take(key)
        if taken.messages:
            await self.save()
        return taken.answer(with_category)

    async def take_flashes(self, key: str) -> list[tuple[Any, str | None]]:
        """Remove and return all messages, each with its category, in one commit: see `take_flash`.

        A message whose removal is committed is lost when no response with it follows, so this comes last,
        after everything of a page that can fail.
        """
        taken = self._take(key, all_of_them=True)
        if taken.messages:
            await self.save()
        return [(value, category) for value, category in taken.messages]

    def _take(self, key: str, *, all_of_them: bool = False) -> "_Taken":
        taken = _Taken(key, all_of_them)
        if not self.is_prefetch and key in self.get(FLASHES, ()):
            self.modify(FLASHES, taken.take, {})
        return taken

    # -- life ---------------------------------------------------------------------------------------------

    def regenerate(self) -> None:
        """A new id with the commit; the data stay, the old id is dead."""
        self._touch()
        self.changes.rotating = True
        self._sign_whole()

    def clear(self) -> None:
        """Remove all data, the user as well; the id stays."""
        super().clear()
        self.changes.new_user = None

    def destroy(self) -> None:
        """Remove the session and its cookie with the commit; what is set afterwards begins a new one."""
        self.clear()
        self.changes.drop_operations()
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
        self._sign_whole()

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
    """The messages that a run of `take` removed; the last run is the one that was committed."""

    def __init__(self, key: str, all_of_them: bool) -> None:
        self.key = key
        self.messages: list[list[Any]] = []
        self._most = None if all_of_them else 1

    def take(self, queues: dict[str, Any]) -> Any:
        queue = queues.pop(self.key, [])
        self.messages = queue[: self._most]
        if left := queue[len(self.messages) :]:
            queues[self.key] = left
        return queues or GONE

    def answer(self, with_category: bool) -> Any:
        value, category = self.messages[0] if self.messages else (None, None)
        return (value, category) if with_category else value
