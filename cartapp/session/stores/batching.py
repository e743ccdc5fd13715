"""Batch concurrent commands into one pipelined write.

A round trip costs far more in the client and in the kernel than in the server, so sending waiting commands
together multiplies the throughput of one process. A command leaves at the end of the event loop iteration in
which it was submitted; while other batches are in flight it waits for them to return, three milliseconds at
most (as in Nagle's algorithm, RFC 896).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from .timeouts import SharedTimer

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

_HOLD: Final = 0.003  # seconds

OnResponse = Callable[[object], None]
"""Takes the responses in the order of the commands; an error response is passed as an exception."""


class Send(Protocol[C_contra]):
    """Send commands over one connection and pass on each response as it arrives.

    An exception becomes the response of every command that has none yet.
    """

    async def __call__(self, commands: Sequence[C_contra], on_response: OnResponse) -> None:
        """Send the commands."""
        ...


class BatcherClosed(Exception):
    """The batcher was closed before the response arrived."""


class _Pending(Generic[C]):
    """A command without a response."""

    __slots__ = ("batch", "command", "deadline", "response")

    deadline: float

    def __init__(self, command: C, response: asyncio.Future[object]) -> None:
        self.command = command
        self.response = response
        self.batch: asyncio.Task[None] | None = None  # of the last command of a batch in flight

    def settle(self, response: object) -> None:
        if not self.response.done():  # the caller was not cancelled
            self.response.set_result(response)

    def expire(self) -> None:
        """See `Expiring`. The last command of a batch is the newest, so the others have expired as well."""
        self.settle(TimeoutError())
        if self.batch is not None:
            self.batch.cancel()


class CommandBatcher(Generic[C]):
    """Send commands in batches of at most `max_batch`, at most `max_in_flight` batches at a time.

    A command has `timeout` seconds for its response, the wait for a free connection included. Each batch is a
    task of its own, so a cancelled caller does not affect the others: its command is dropped if it is still
    queued, and its response is discarded otherwise. A batch is cancelled when all its commands have expired.
    """

    def __init__(self, send: Send[C], *, max_batch: int, max_in_flight: int, timeout: float) -> None:
        self._send = send
        self._max_batch = max_batch
        self._max_in_flight = max_in_flight
        self._timer = SharedTimer(timeout)
        self._queue: deque[_Pending[C]] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._next_send: asyncio.Handle | None = None

    @property
    def in_flight(self) -> int:
        """The number of batches without all responses; each occupies a connection."""
        return len(self._batches)

    def submit(self, command: C) -> asyncio.Future[object]:
        """Queue a command. The result is its response; an error is returned as an exception, not raised."""
        loop = asyncio.get_running_loop()
        pending = _Pending(command, loop.create_future())
        self._timer.start(pending)
        self._queue.append(pending)
        if len(self._queue) >= self._max_batch:
            self._send_batches()
        elif self._next_send is None:
            self._next_send = loop.call_later(_HOLD if self._batches else 0, self._send_batches)
        return pending.response

    async def close(self) -> None:
        """Cancel all batches. Every command without a response gets `BatcherClosed`."""
        while self._queue:
            self._settle(self._queue.popleft(), BatcherClosed())
        batches = list(self._batches)
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)

    def _send_batches(self) -> None:
        if self._next_send is not None:
            self._next_send.cancel()
            self._next_send = None
        while self._queue and len(self._batches) < self._max_in_flight:
            if batch := self._take_batch():
                task = batch[-1].batch = asyncio.get_running_loop().create_task(self._run(batch))
                self._batches.add(task)
                task.add_done_callback(partial(self._on_finished, batch))

    def _take_batch(self) -> list[_Pending[C]]:
        batch: list[_Pending[C]] = []
        while self._queue and len(batch) < self._max_batch:
            pending = self._queue.popleft()
            if pending.response.done():  # cancelled or expired in the queue
                self._timer.stop(pending)
            else:
                batch.append(pending)
        return batch

    async def _run(self, batch: list[_Pending[C]]) -> None:
        unanswered = iter(batch)

        def on_response(response: object) -> None:
            self._settle(next(unanswered), response)

        try:
            await self._send([pending.command for pending in batch], on_response)
        except Exception as error:  # noqa: BLE001 - a response; the caller interprets it
            for pending in unanswered:
                self._settle(pending, error)

    def _settle(self, pending: _Pending[C], response: object) -> None:
        self._timer.stop(pending)
        pending.settle(response)

    def _on_finished(self, batch: list[_Pending[C]], task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if task.cancelled():
            for pending in batch:
                self._settle(pending, BatcherClosed())
        self._send_batches()
