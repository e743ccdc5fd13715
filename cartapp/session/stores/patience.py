"""A time-out for many things at once, which costs next to nothing.

`asyncio.timeout` takes longer than what it bounds when that is a step of a local store, and a tenth of a
request on a remote one. So work is run to its first wait before any clock is set, since most steps of a local
store never wait; and those who do wait share one timer, since all have the same patience.
"""

import asyncio
from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Wait:
    task: asyncio.Task[Any]
    cancelling: int  # how often the task had been cancelled before
    until: float
    over: bool = False


class Patience:
    """Waits at most so many seconds for each piece of work."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[_Wait, None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None  # there while somebody waits

    async def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. Raises TimeoutError when it has to wait, and for too long."""
        try:
            awaited = work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        wait = self._begin()
        try:
            return await _resumed(work, awaited)
        except asyncio.CancelledError as error:
            # By us alone, or by somebody else as well? As in asyncio.timeout, that other one goes first.
            if wait.over and wait.task.cancelling() <= wait.cancelling + 1:
                raise TimeoutError from error
            raise
        finally:
            self._end(wait)

    def _begin(self) -> _Wait:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - a coroutine that runs is some task's
        wait = _Wait(task, task.cancelling(), loop.time() + self._seconds)
        self._waits[wait] = None
        if self._timer is None:
            self._timer = loop.call_at(wait.until, self._give_up)
        return wait

    def _end(self, wait: _Wait) -> None:
        if wait.over:
            wait.task.uncancel()
        else:
            del self._waits[wait]
        if not self._waits and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        """End the waits that are over; the timer is for the oldest of the others then."""
        loop = asyncio.get_running_loop()
        self._timer = None
        for wait in list(self._waits):
            if wait.until > loop.time():
                self._timer = loop.call_at(wait.until, self._give_up)
                return
            del self._waits[wait]
            wait.over = True
            wait.task.cancel()


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
