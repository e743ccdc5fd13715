"""Visits that are made again and again while a test does something to the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .waiting import DEADLINE

Visit = Callable[[], Awaitable[None]]


class Rounds:
    """Everybody's visits, each begun anew when it has ended."""

    def __init__(self) -> None:
        self._came = asyncio.Condition()
        self._ended = False
        self._may_come = asyncio.Event()
        self._may_come.set()
        self._under_way = 0

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that only visits change."""
        async with asyncio.timeout(DEADLINE), self._came:
            await self._came.wait_for(holds)

    async def more(self, figure: Callable[[], int], number: int) -> None:
        """Wait until a figure has grown by that much."""
        wanted = figure() + number
        await self.until(lambda: figure() >= wanted)

    @asynccontextmanager
    async def of(self, *visits: tuple[Visit, float]) -> AsyncIterator[None]:
        """Make these visits until the block ends, each with so many seconds in between."""
        async with asyncio.TaskGroup() as tasks:
            for visit, pause in visits:
                tasks.create_task(self._again(visit, pause))
            try:
                yield
            finally:
                self._ended = True

    @asynccontextmanager
    async def resting(self) -> AsyncIterator[None]:
        """Let no visit begin within the block, and wait first until those under way have ended."""
        self._may_come.clear()
        try:
            await self.until(lambda: self._under_way == 0)
            yield
        finally:
            self._may_come.set()

    async def _again(self, visit: Visit, pause: float) -> None:
        while not self._ended:
            await self._may_come.wait()
            self._under_way += 1
            try:
                await visit()
            finally:
                self._under_way -= 1
            async with self._came:
                self._came.notify_all()
            await asyncio.sleep(pause)  # a refusal takes no time at all
