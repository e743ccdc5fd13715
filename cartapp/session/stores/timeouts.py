"""One timer shared by all pending operations; a pause of the event loop does not count as an outage.

`asyncio.timeout` sets a timer for each use, which costs a tenth of a request on a remote store. All
operations on one store have the same timeout, so one timer, set for the oldest of them, is enough.

After a pause (a handler blocked the event loop, or the process was stopped) timers are overdue and responses
are unread in the sockets. uvloop runs the timers first; with asyncio a response needs several iterations of
the event loop to reach its task. So a timer that fires late gives the operations part of their timeout again,
since their requests may not have been sent yet. Then the event loop runs a few more iterations, which read
what has arrived, before anything expires.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from time import monotonic  # the clock of uvloop's event loop does not advance while a handler blocks
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

from .per_loop import PerLoop

T = TypeVar("T")

_LATE: Final = 0.05  # seconds; a timer later than this has seen a pause
_GRACE: Final = 0.5  # the part of the timeout that a pause gives back
_ITERATIONS: Final = 30  # of the event loop; a response takes about five from the socket to its task

TIMED_OUT: Final = "timed out"
"""The message of a cancellation by a timeout; one by a caller has none."""


class Expiring(Protocol):
    """Something that waits."""

    deadline: float
    """Time of the monotonic clock; set by `SharedTimer.start`."""

    def expire(self) -> None:
        """End the wait: the deadline has passed."""
        ...


class SharedTimer:
    """Expire each wait after the same number of seconds, on one event loop."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waits: dict[Expiring, None] = {}  # the oldest first
        self._timer: asyncio.Handle | None = None  # left to fire when nothing waits: setting one costs more

    def start(self, wait: Expiring) -> None:
        """Expire `wait` after the timeout."""
        wait.deadline = monotonic() + self.seconds
        self._waits[wait] = None
        if self._timer is None:
            self._set(wait.deadline)

    def stop(self, wait: Expiring) -> None:
        """Do not expire `wait` any more. Does nothing if it has expired."""
        self._waits.pop(wait, None)

    def _set(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(when - monotonic(), self._fire, when)

    def _fire(self, when: float) -> None:
        """Begin to expire overdue waits, after a grace period if the timer is late."""
        now = monotonic()
        self._timer = None
        if not self._waits:
            return
        oldest = next(iter(self._waits)).deadline
        if oldest > now:
            self._set(oldest)
        elif now - when <= _LATE:
            self._iterate(now, _ITERATIONS)
        else:
            grace = self.seconds * _GRACE
            self._timer = asyncio.get_running_loop().call_later(
                grace, self._iterate, now + grace, _ITERATIONS
            )

    def _iterate(self, until: float, iterations: int) -> None:
        """Let the event loop iterate, then expire the waits with a deadline before `until`."""
        if iterations:
            self._timer = asyncio.get_running_loop().call_soon(self._iterate, until, iterations - 1)
            return
        self._timer = None
        for wait in list(self._waits):
            if wait.deadline > until:
                self._set(wait.deadline)
                return
            del self._waits[wait]
            wait.expire()


class SharedTimeout:
    """Bound each piece of work by the same number of seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._timers = PerLoop(partial(SharedTimer, seconds))

    def limit(self) -> "_Limit":
        """Return a context manager that cancels its block after the timeout and raises `TimeoutError`."""
        return _Limit(self._timers.get())

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return the result of `work`. Cancels it after the timeout and raises `TimeoutError`."""
        with _Limit(self._timers.get()):
            return await work


class _Limit:
    """As `asyncio.timeout`, but on a shared timer."""

    __slots__ = ("_again", "_cancelling", "_cancels", "_task", "_timer", "deadline")

    deadline: float

    def __init__(self, timer: SharedTimer) -> None:
        self._timer = timer
        self._cancels = 0
        self._again: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a running coroutine belongs to a task
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        self._timer.start(self)

    def expire(self) -> None:
        self._cancels += 1
        self._task.cancel(TIMED_OUT)
        # The block may lose a cancellation: `asyncio.wait_for`, which pools use, does so before Python 3.12.
        self._again = self._task.get_loop().call_later(self._timer.seconds, self.expire)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._again is None:
            self._timer.stop(self)
            return
        self._again.cancel()
        for _ in range(self._cancels):
            self._task.uncancel()
        # As in asyncio.timeout, a cancellation by the caller takes precedence over ours.
        if self._task.cancelling() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
