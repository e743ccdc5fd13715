"""An event loop without I/O: one ready queue in order, and virtual time.

It supports tasks, futures, locks, timeouts and sleeps of asyncio, so that a run depends on
nothing except the choices of the scheduler.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SHORT = 1.0
"""Seconds of virtual time per `settle`: longer than backoff pauses, shorter than timeouts."""


class _Handle(asyncio.TimerHandle):
    """A callback with public attributes; those of the base class are private to asyncio."""

    def __init__(
        self, when: float, callback: Callable[..., object], args: tuple[Any, ...], loop: "VirtualLoop"
    ) -> None:
        super().__init__(when, callback, args, loop)
        self.callback, self.args = callback, args


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks until none is ready; nothing runs between two calls of `settle`."""

    def __init__(self) -> None:
        self._ready: deque[tuple[_Handle, Context]] = deque()
        self._timers: list[tuple[float, int, _Handle, Context]] = []
        self._scheduled = 0
        self._now = 0.0

    def settle(self) -> None:
        """Run all ready callbacks, and the timers due within a short virtual time."""
        with self._running():
            self._run_ready()
            until = self._now + _SHORT
            while self._timers and self._timers[0][0] <= until:
                when, _, handle, context = heapq.heappop(self._timers)
                self._now = max(self._now, when)
                self._ready.append((handle, context))
                self._run_ready()

    def complete(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; it must not depend on a step of the scheduler."""
        task = self.create_task(coroutine)
        self.settle()
        result: T = task.result()
        return result

    @contextmanager
    def _running(self) -> Generator[None, None, None]:
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(outer)

    def _run_ready(self) -> None:
        while self._ready:
            handle, context = self._ready.popleft()
            if not handle.cancelled():
                context.run(handle.callback, *handle.args)

    # -- methods that asyncio calls -----------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(self._now, callback, args, self)
        self._ready.append((handle, context or copy_context()))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._scheduled += 1  # timers of the same time run in the order of their creation
        handle = _Handle(when, callback, args, self)
        heapq.heappush(self._timers, (when, self._scheduled, handle, context or copy_context()))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers are skipped when they are due."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Raise: every task of a run is awaited or cancelled, so there is nothing to report."""
        raise RuntimeError(context.get("message", "")) from context.get("exception")


def new_loop() -> VirtualLoop:
    """Create a loop. It lacks the methods for I/O, threads and processes, which are abstract."""
    return VirtualLoop()  # type: ignore[abstract]
