"""Commands of many tasks, gathered: those that wait at the same moment travel together.

A round trip costs far more in the client and in the kernel than in the server, so sending together what is
waiting anyway multiplies what one process gets through. A command leaves at the end of the event loop's turn
in which it was given; but while others are under way it waits for them to come back, three milliseconds at
most (as in Nagle's algorithm, RFC 896).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from .timeouts import SharedTimeout

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)

_HELD = 0.003  # seconds

Answered = Callable[[object], None]
"""Takes the answers, in the order of the commands; a refusal is an exception given as an answer."""


class Send(Protocol[C_contra]):
    """Sends commands over one connection and hands on each answer as it comes.

    What it raises is the answer of every command not answered yet.
    """

    async def __call__(self, commands: Sequence[C_contra], answered: Answered) -> None:
        """Send them all."""
        ...


class Closed(Exception):
    """The gatherer was closed before the answer came."""


@dataclass(slots=True)
class _Asked(Generic[C]):
    command: C
    answer: asyncio.Future[object]

    def settle(self, answer: object) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class Gatherer(Generic[C]):
    """Sends what tasks ask for in batches of at most `most` commands, at most `at_once` batches at a time.

    Each batch is a task of its own, with `timeout` seconds for all of it. So a caller that is cancelled takes
    nothing down with it: a command that is still waiting is dropped, the answer to one that has been sent is
    thrown away, and the neighbours get theirs. A batch that breaks in the middle is broken only for those who
    have no answer yet.
    """

    def __init__(self, send: Send[C], *, most: int, at_once: int, timeout: float) -> None:
        self._send = send
        self._most = most
        self._at_once = at_once
        self._timeout = SharedTimeout(timeout)
        self._waiting: deque[_Asked[C]] = deque()
        self._batches: set[asyncio.Task[None]] = set()
        self._next_start: asyncio.Handle | None = None

    def ask(self, command: C) -> Awaitable[object]:
        """The answer to a command; instead of raising, what went wrong is returned as an exception."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[object] = loop.create_future()
        self._waiting.append(_Asked(command, answer))
        if len(self._waiting) >= self._most:
            self._start()
        elif self._next_start is None:
            self._next_start = loop.call_later(_HELD if self._batches else 0, self._start)
        return answer

    async def close(self) -> None:
        """Stop what is under way; those who still wait get `Closed`."""
        while self._waiting:
            self._waiting.popleft().settle(Closed("it was closed"))
        batches = list(self._batches)
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)

    def _start(self) -> None:
        if self._next_start is not None:
            self._next_start.cancel()
            self._next_start = None
        while self._waiting and len(self._batches) < self._at_once:
            if batch := self._next():
                task = asyncio.get_running_loop().create_task(self._run(batch))
                self._batches.add(task)
                task.add_done_callback(partial(self._ended, batch))

    def _next(self) -> list[_Asked[C]]:
        batch: list[_Asked[C]] = []
        while self._waiting and len(batch) < self._most:
            asked = self._waiting.popleft()
            if not asked.answer.done():  # its caller was cancelled meanwhile
                batch.append(asked)
        return batch

    async def _run(self, batch: list[_Asked[C]]) -> None:
        unanswered = iter(batch)
        try:
            commands = [asked.command for asked in batch]
            await self._timeout.wait_for(self._send(commands, lambda answer: next(unanswered).settle(answer)))
        except Exception as error:  # noqa: BLE001 - the answer of each caller, who knows what it means
            for asked in unanswered:
                asked.settle(error)

    def _ended(self, batch: list[_Asked[C]], task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        for asked in batch:  # after a cancellation some have no answer
            asked.settle(Closed("it was closed"))
        self._start()
