"""One run of an operation for all concurrent callers.

Callers that queued on a lock would each run the operation again, one after the other, and each for up to the
timeout while a server hangs.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class SingleFlight:
    """Run an operation in its own task, which concurrent callers share with its error.

    A cancelled caller leaves the run to the others, so the operation must have its own timeout. Each event
    loop has a run of its own.
    """

    def __init__(self, operation: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._operation = operation
        self._running: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Wait for the current run, or start one. Raises the operation's error."""
        loop = asyncio.get_running_loop()
        task = self._running.get(loop)
        if task is None:
            task = self._running[loop] = loop.create_task(self._operation())
            task.add_done_callback(self._finished)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the current run and wait for its end."""
        task = self._running.get(asyncio.get_running_loop())
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task.get_loop(), None)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would log an error without a caller
