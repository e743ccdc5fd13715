"""One timer shared by all pending operations, which takes a pause of the event loop for no outage.

`asyncio.timeout` costs more than a step of a local store, and a tenth of a request on a remote one. So work
runs to its first wait before any timer is set, since most steps of a local store never wait. All that wait
share one timer, since all have the same timeout.

After a pause, whether a handler blocked the event loop or the process was stopped, timers are overdue and
responses lie unread in the sockets. uvloop runs the timers first; with asyncio a response needs several turns
of the event loop to reach its task. So nothing is cancelled at once when the timer fires. If the timer is
late, operations get part of their timeout again: their requests may not have been sent yet. Then the event
loop turns a few times more, which reads what has arrived.
"""

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from time import monotonic  # the time of uvloop's event loop stands still while a handler blocks
from types import coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LATE: Final = 0.05  # seconds; a timer that is later than that has seen a pause
_GRACE: Final = 0.5  # the part of the timeout that a pause gives back
_TURNS: Final = 30  # of the event loop; a response takes five or so from the socket to its task

TIMED_OUT: Final = "timed out"
"""The message of a cancellation by a timeout; one by a caller has none."""


@dataclass(slots=True, eq=False)
class _Wait:
    task: asyncio.Task[Any]
    cancelling: int  # how often the task had been cancelled before
    until: float
    over: bool = False


class SharedTimeout:
    """Bounds each piece of work by the same number of seconds, on one event loop at a time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waits: dict[_Wait, None] = {}  # the oldest first
        self._timer: asyncio.Handle | None = None  # set while anything waits

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns. Raises TimeoutError when it waits for too long, and cancels it."""
        try:
            awaited = work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        wait = self._begin()
        try:
            return await _resumed(work, awaited)
        except asyncio.CancelledError as error:
            # As in asyncio.timeout, a cancellation by the caller takes precedence over ours.
            if wait.over and wait.task.cancelling() <= wait.cancelling + 1:
                raise TimeoutError from error
            raise
        finally:
            self._end(wait)

    def _begin(self) -> _Wait:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs is some task's
        wait = _Wait(task, task.cancelling(), monotonic() + self.seconds)
        self._waits[wait] = None
        if self._timer is None:
            self._set(wait.until)
        return wait

    def _end(self, wait: _Wait) -> None:
        if wait.over:
            wait.task.uncancel()
        else:
            del self._waits[wait]
        if not self._waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, when: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(when - monotonic(), self._fire, when)

    def _fire(self, when: float) -> None:
        """Begin to end what is over, after a grace period if the timer is late."""
        now = monotonic()
        oldest = next(iter(self._waits)).until
        if oldest > now:
            self._set(oldest)
        elif now - when <= _LATE:
            self._turn(now, _TURNS)
        else:
            grace = self.seconds * _GRACE
            self._timer = asyncio.get_running_loop().call_later(grace, self._turn, now + grace, _TURNS)

    def _turn(self, until: float, turns: int) -> None:
        """Let the event loop turn that often, then end the waits that were over at the time `until`."""
        if turns:
            self._timer = asyncio.get_running_loop().call_soon(self._turn, until, turns - 1)
            return
        self._timer = None
        for wait in list(self._waits):
            if wait.until > until:
                self._set(wait.until)
                return
            del self._waits[wait]
            wait.over = True
            wait.task.cancel(TIMED_OUT)


@coroutine
def _resumed(work: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """The rest of work that came to its first wait: what `await` does from its second step on (PEP 380)."""
    while True:
        try:
            try:
                sent = yield awaited
            except BaseException as error:  # noqa: BLE001 - mostly a cancellation, which is for `work`
                awaited = work.throw(error)
            else:
                awaited = work.send(sent)
        except StopIteration as done:
            result: T = done.value
            return result
