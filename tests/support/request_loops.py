"""Repeat requests in the background while a test disturbs the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from tests.support.polling import DEADLINE

Request = Callable[[], Awaitable[None]]

_SLOW = 0.1  # seconds


class RequestLoops:
    """Concurrent loops. Each repeats one request."""

    def __init__(self) -> None:
        self._completed = asyncio.Condition()
        self._ended = False
        self._enabled = asyncio.Event()
        self._enabled.set()
        self._in_flight = 0
        self._least_pause = 0.0

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that only requests change."""
        async with asyncio.timeout(DEADLINE), self._completed:
            await self._completed.wait_for(condition)

    async def wait_for_increase(self, counter: Callable[[], int], number: int) -> None:
        """Wait until a counter has increased by `number`."""
        target = counter() + number
        await self.wait_until(lambda: counter() >= target)

    @asynccontextmanager
    async def running(self, *requests: tuple[Request, float]) -> AsyncIterator[None]:
        """Repeat each request until the block ends, with its pause in seconds between repetitions."""
        async with asyncio.TaskGroup() as tasks:
            for request, pause in requests:
                tasks.create_task(self._loop(request, pause))
            try:
                yield
            finally:
                self._ended = True

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Wait for requests in flight, then start none within the block."""
        self._enabled.clear()
        try:
            await self.wait_until(lambda: self._in_flight == 0)
            yield
        finally:
            self._enabled.set()

    @contextmanager
    def slowed(self) -> Iterator[None]:
        """Send few requests within the block, which only waits: other tests need the processor."""
        self._least_pause = _SLOW
        try:
            yield
        finally:
            self._least_pause = 0.0

    async def _loop(self, request: Request, pause: float) -> None:
        while not self._ended:
            await self._enabled.wait()
            self._in_flight += 1
            try:
                await request()
            finally:
                self._in_flight -= 1
            async with self._completed:
                self._completed.notify_all()
            await asyncio.sleep(max(pause, self._least_pause))  # a failing request may return at once
