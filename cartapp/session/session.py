"""The session object of a handler. It knows neither store nor HTTP: a `Committer` loads and commits it."""

import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol, Self

from .arguments import check_integer, check_user_id
from .codec import Raws
from .durations import Duration
from .errors import SessionBusy, StoreUnavailable, UnreadableRecord, UnsupportedValue
from .mapping import RecordingDict, as_stored
from .operations import REMOVE, Changes
from .policy import LIFETIME
from .record import Record
from .tracked_values import TrackedValue, has_finished, running_task
from .typed import typed_view

logger: logging.Logger = logging.getLogger("cartapp.session")

FLASHES = "_flash"
"""Session key of the queued flashes."""

ALL_TASKS: Any = object()
"""Author of the commit before the response: it gets the errors that no `save` has raised."""

_MISSING: Any = object()
_put = dict.setdefault  # twice as fast as super().__setitem__


class Committer(Protocol):
    """What a session needs of its `RequestSession`."""

    async def load(self, session: "Session") -> None:
        """Fill the session from the store."""
        ...

    async def commit(self, session: "Session", author: object) -> None:
        """Write the recorded changes for the task `author`, and update the session."""
        ...

    async def check_writable(self, session: "Session") -> None:
        """Raise `StoreUnavailable` unless the store accepts writes."""
        ...

    async def successor_user(self, session: "Session") -> str | None:
        """Return the user of the successor if this session is a tombstone."""
        ...

    def check_lifetime(
        self, ttl: Duration | None, max_age: Duration | None, persistent: bool | None
    ) -> dict[str, float | bool]:
        """Return the value of the key `LIFETIME`. Raises TypeError or ValueError."""
        ...

    @property
    def handle(self) -> str:
        """The public handle of the present session, or of the one that the next commit creates."""
        ...

    @property
    def has_cookie(self) -> bool:
        """Whether the request has a session cookie, valid or not."""
        ...

    @property
    def is_prefetch(self) -> bool:
        """Whether a browser prefetches the page."""
        ...


class Session(RecordingDict):
    """A client's session: a `dict` of JSON values, datetime, date, Decimal, bytes, UUID and subclasses.

    Reads and writes are dict operations without I/O. They raise `SessionNotLoaded` before the session is
    loaded, and writes raise `UnsupportedValue` for a value that cannot be stored. Changes are committed
    before the first byte of the response, or by `await save()`.
    """

    changes: Changes
    record: Record | None = None
    """The committed state; None before the first commit."""
    destroyed_record: Record | None = None
    """The state before `destroy` was committed, for the log of the request."""
    _is_new = False

    def __init__(self, committer: Committer, view: type[Any] | None = None) -> None:
        self._committer = committer
        self._view = view
        # json's C encoder calls no method of an empty dict, so an unloaded session must not be empty.
        _put(self, "not loaded")
        # Errors of changes that another task's commit included and failed to store, by task.
        self._failures: dict[object, Exception] = {}

    # -- called by the committer --------------------------------------------------------------------------

    @property
    def _is_tombstone(self) -> bool:
        return self.record is not None and self.record.is_tombstone and not self.changes.destroyed

    def fill(self, record: Record | None) -> None:
        """Show the loaded record; None and a tombstone give an empty session."""
        self._reset(_shown_data(record))
        self.record = record
        self._is_new = record is None

    def take_changes(self, author: object, *, keep: bool = False) -> Changes:
        """Return and reset the recorded changes: each is committed once, whatever the outcome.

        With `keep` they remain, since nothing is committed. Raises the pending error of the author.
        """
        changes = self.recorded()
        if self._failures:
            self._raise_failure(author)
        if not keep:
            self._in_flight, self.changes = changes, Changes()
        return changes

    def _raise_failure(self, author: object) -> None:
        """Raise the error of a task's changes that another task's commit failed to store.

        Any task gets the errors of tasks that have finished. What the task has recorded since is dropped,
        since its save fails. After `destroy` there is nothing to report.
        """
        if self.changes.destroyed:
            self._failures.clear()
        due = [task for task in self._failures if author in (task, ALL_TASKS) or has_finished(task)]
        if due:
            error = [self._failures.pop(task) for task in due][-1]
            self.withdraw(author, error)
            raise error

    def withdraw(self, author: object, error: BaseException) -> None:
        """Drop the changes of a task after its save failed before it started.

        Other tasks that lose changes with them get the error at their next save.
        """
        self._failures.pop(author, None)
        if self._in_flight is not None:
            self._in_flight.authors.discard(author)
        changes = self.recorded()
        if author is ALL_TASKS:
            self.changes = Changes()
        elif author in changes.session_wide:
            self.changes = Changes()
            self._fail(changes.authors - {author}, error)
        elif author in changes.authors:
            self._fail(changes.withdraw(author), error)
        else:
            return
        self._rebase(self._committed, self._raws)

    def _fail(self, tasks: Iterable[object], error: BaseException) -> None:
        """Keep an error for the next save of each of these tasks."""
        if not isinstance(error, Exception):
            error = StoreUnavailable("A save by another task was cancelled; its outcome is unknown.")
        for task in tasks:
            self._failures[task] = error

    def _report_unsupported(self, tracked: TrackedValue, error: UnsupportedValue) -> None:
        self._fail(tracked.holders, error)

    @property
    def is_untouched(self) -> bool:
        """Whether a commit has nothing to do: no changes, and no errors to raise."""
        return not self.changes and not self.recorded() and not self._failures

    def show_committed(self, record: Record | None, raws: Raws | None = None) -> None:
        """Show the committed state with the changes recorded since on top; `raws` is its data by key."""
        self._in_flight = None
        try:
            self._rebase(_shown_data(record), raws)
        except UnreadableRecord as error:
            logger.warning("A session is unreadable after a commit: %s", error)
            self._reset(b"{}")
        self.record = record

    def discard(self, changes: Changes, author: object, error: BaseException) -> None:
        """Drop changes after their commit failed; keep the error for their authors other than `author`."""
        self.show_committed(self.record)
        if author is not ALL_TASKS:
            self._fail(changes.authors - {author}, error)

    def revert(self) -> None:
        """Drop the changes since the last commit."""
        self._reset(_shown_data(self.record))

    # -- called by the middleware -------------------------------------------------------------------------

    def drop_changes(self) -> None:
        """Drop the changes since the last commit, for an error response in place of the handler's."""
        self.mark_accessed()
        if self.loaded:
            self.revert()

    @contextmanager
    def viewed_as(self, view: type[Any] | None) -> Iterator[None]:
        """Make `data` an instance of another class for a mounted application; None changes nothing."""
        former = self._view
        self._view = view or former
        try:
            yield
        finally:
            self._view = former

    # -- loading and saving -------------------------------------------------------------------------------

    async def load(self) -> Self:
        """Load the session unless it is loaded. Raises `StoreUnavailable`."""
        if not self.loaded:
            await self._committer.load(self)
        return self

    async def try_to_load(self) -> None:
        """Load the session before the handler; keep an error until the handler accesses the session.

        That is an outage of the store, or any error of `is_current`.
        """
        try:
            await self.load()
        except Exception as error:  # noqa: BLE001 - raised by the first access
            if not isinstance(error, StoreUnavailable | SessionBusy):
                logger.warning("The session was not loaded: %s: %s", type(error).__name__, error)
            self._load_error = error

    def save(self) -> Coroutine[Any, Any, None]:
        """Commit now (awaitable); afterwards the session shows the committed state.

        Concurrent calls run one after the other; changes made during a call belong to the next one. A failed
        or cancelled call is not repeated: its changes are dropped. If they included changes of other tasks,
        each of these gets the error at its own next `save`, or else the commit before the response does.

        Raises `SessionEnded`, `SessionTooLarge`, `SessionBusy`, `UnsupportedValue` or `StoreUnavailable`, and
        any exception of a function given to `modify`. Then nothing was stored, except that a destroyed
        session has ended. After `StoreUnavailable` and after a cancellation the outcome is unknown.
        """
        # No coroutine function: `wait_for`, `shield` and `gather` await it in a new task, but the author is
        # the calling task.
        self._require_loaded()
        return self._committer.commit(self, running_task())

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
        """Queue a message: `flash(key, value, category)`. Remove and return the oldest: `flash(key)`.

        Returns None for an empty queue, and a pair (value, category) with `with_category`. Two requests may
        both read one message this way; `take_flash` gives it to exactly one.

        With `unique` a message that is already in the queue is not added again: for a form that a browser
        may send twice.
        """
        if value is _MISSING:
            return self._pop_messages(key).result(with_category)
        message = as_stored(key, [value, category])

        def queue(queues: dict[str, Any]) -> dict[str, Any]:
            queued = queues.get(key, [])
            return queues if unique and message in queued else {**queues, key: [*queued, message]}

        self.modify(FLASHES, queue, {})
        return None

    async def take_flash(self, key: str, *, with_category: bool = False) -> Any:
        """Remove and return the oldest message after committing its removal.

        Of several requests exactly one gets a message; the others get the next one or None. Commits all
        other changes as well, and raises what `save` raises.
        """
        removal = self._pop_messages(key)
        if removal.messages:
            await self.save()
        return removal.result(with_category)

    def flashes(self, key: str | None = None) -> list[tuple[Any, str | None]]:
        """Remove and return all messages of a key, or of every key, as (value, category).

        For a base template. Two requests may both read a message this way; see `take_flashes`.
        """
        return self._pop_messages(key, limit=None).pairs()

    async def take_flashes(self, key: str | None = None) -> list[tuple[Any, str | None]]:
        """Remove and return all messages of a key, or of every key, in one commit; see `take_flash`.

        After the commit a message is lost if no response follows. Call this last, after everything
        in the handler that can fail.
        """
        removal = self._pop_messages(key, limit=None)
        if removal.messages:
            await self.save()
        return removal.pairs()

    def _pop_messages(self, key: str | None, *, limit: int | None = 1) -> "_FlashRemoval":
        removal = _FlashRemoval(key, limit)
        queues = self.get(FLASHES, ())
        if not self.is_prefetch and (queues if key is None else key in queues):
            self.modify(FLASHES, removal.apply, {})
        return removal

    # -- life ---------------------------------------------------------------------------------------------

    def regenerate(self) -> None:
        """Give the session a new ID at the commit. The data remain; the old ID becomes invalid."""
        self._require_loaded()
        self.changes.rotating = True
        self._mark_session_wide()

    def clear(self) -> None:
        """Remove all data and the user; the ID remains."""
        super().clear()
        self.changes.new_user = None

    def destroy(self) -> None:
        """Delete the session and its cookie at the commit; values set afterwards start a new session."""
        self.clear()
        self.changes.drop_operations()
        self.changes.destroyed = True

    def log_in(self, user_id: str, epoch: int = 0, *, resume: bool = True) -> None:
        """Bind the session to a user, with a new ID and a new absolute lifetime. The data remain.

        Succeeds also on a session that another request ended or rotated, and with the cookie of a rotated
        one (after the response of a log-in was lost). It continues with the successor if that belongs to the
        same user, and with a new session otherwise. With `resume=False` it raises `SessionEnded` in these
        cases, as other writes do: for a remembered device, which sends requests in parallel.

        Every load passes `epoch` to `is_current(user_id, epoch)`, so raising a user's epoch ends all sessions
        of that user. A new ID at every log-in is ASVS 7.2.4.

        Raises TypeError or ValueError unless `user_id` is a string of at most 255 characters and `epoch` an
        integer of 64 bits.
        """
        check_user_id("Session.log_in: user_id", user_id)
        check_integer("Session.log_in: epoch", epoch)
        self._require_loaded()
        self.changes.new_user, self.changes.resuming = (user_id, epoch), resume
        self.changes.rotating = True
        self._mark_session_wide()

    def set_lifetime(
        self,
        ttl: Duration | None = None,
        max_age: Duration | None = None,
        *,
        persistent: bool | None = None,
    ) -> None:
        """Give this session an idle timeout, an absolute lifetime and a kind of cookie of its own.

        Durations are in seconds or timedeltas; None means the setting of the application. The
        `max_age` of its policy is the limit for every session. With `persistent=False` the cookie ends with
        the browser, with True it does not. Stored under the key `_lifetime`; kept by `regenerate` and
        `log_in`, and removed by `clear`.
        Raises TypeError or ValueError for an impossible value.
        """
        chosen = self._committer.check_lifetime(ttl, max_age, persistent)
        if chosen:
            self[LIFETIME] = chosen
        else:
            self.pop(LIFETIME, None)

    async def check_writable(self) -> None:
        """Raise `StoreUnavailable` unless the store accepts writes; the data remain unchanged.

        For a handler that changes something elsewhere first, and the session afterwards.
        """
        self._require_loaded()
        await self._committer.check_writable(self)

    async def successor_user(self) -> str | None:
        """Return the user of the rotated session if the cookie contains its former ID, else None.

        Such a cookie grants no access, and `user_id` is None. Raises `StoreUnavailable`.
        """
        self._require_loaded()
        return await self._committer.successor_user(self)

    @property
    def id(self) -> str:
        """The public handle: safe to show and to log, and useless as a cookie."""
        self._require_loaded()
        return self._committer.handle

    @property
    def is_new(self) -> bool:
        """Whether the request came without a session."""
        self._require_loaded()
        return self._is_new

    @property
    def has_expired(self) -> bool:
        """Whether the request came with the cookie of a session that no longer exists."""
        return self.is_new and self._committer.has_cookie

    @property
    def is_prefetch(self) -> bool:
        """Whether a browser prefetches the page: then nothing is committed, and no flash is removed."""
        return self._committer.is_prefetch

    @property
    def created_at(self) -> datetime | None:
        """Time of creation; None before the first commit."""
        return self._time("created")

    @property
    def last_used_at(self) -> datetime | None:
        """The stored last use, exact to a tenth of the idle timeout; None before the first commit."""
        return self._time("last_used")

    @property
    def expires_at(self) -> datetime | None:
        """Expiry without further use; None before the first commit."""
        return self._time("expires")

    def _time(self, name: str) -> datetime | None:
        self._require_loaded()
        if self.record is None or self.record.is_tombstone:
            return None
        return datetime.fromtimestamp(getattr(self.record, name) / 1000, UTC)

    @property
    def user_id(self) -> str | None:
        """The user given to `log_in`, also before the commit; None for a guest."""
        self._require_loaded()
        changes = self.changes
        if changes.new_user is not None:
            return changes.new_user[0]
        if changes.destroyed or changes.cleared or self.record is None or self.record.is_tombstone:
            return None
        return self.record.user_id

    @property
    def data(self) -> Any:
        """The typed view: an instance of the middleware's `data` class."""
        self._require_loaded()
        if self._view is None:
            raise TypeError("Session.data needs a class: SessionMiddleware(data=YourClass).")
        return typed_view(self._view, self)


def _shown_data(record: Record | None) -> bytes:
    return b"{}" if record is None or record.is_tombstone else record.data


class _FlashRemoval:
    """The messages removed by the last call of `apply`, which is the committed one; key None: all queues."""

    def __init__(self, key: str | None, limit: int | None) -> None:
        self.messages: list[list[Any]] = []
        self._key, self._limit = key, limit

    def apply(self, queues: dict[str, Any]) -> Any:
        if self._key is None:
            self.messages = [message for queue in queues.values() for message in queue]
            return REMOVE
        queue = queues.pop(self._key, [])
        self.messages = queue[: self._limit]
        if remaining := queue[len(self.messages) :]:
            queues[self._key] = remaining
        return queues or REMOVE

    def pairs(self) -> list[tuple[Any, str | None]]:
        return [(value, category) for value, category in self.messages]

    def result(self, with_category: bool) -> Any:
        value, category = self.messages[0] if self.messages else (None, None)
        return (value, category) if with_category else value
