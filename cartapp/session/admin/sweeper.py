"""Removes expired records in the background, for stores that do not remove them by themselves.

It only frees space: expired records already count as absent. Any number of workers may sweep the same store.
Where a purge has to read every record (files), one process of a host sweeps for all.
"""

import asyncio
import logging
import random

from ..durations import to_seconds
from ..errors import SessionError
from ..record import Clock, now
from ..stores.base import HostLocal, Purgeable
from .host_lock import HostLock

logger: logging.Logger = logging.getLogger("cartapp.session")


class Sweeper:
    """Purges a store about every `every` seconds, from `start` to `stop`; `what` names the records in logs.

    Pauses vary between 0.5 and 1.5 times `every`, so that workers started together do not sweep together. A
    failed purge is logged and retried after the next pause.

    For a store of one host, only the process that acquires its lock sweeps, until it stops.
    """

    def __init__(
        self, store: Purgeable, *, what: str = "sessions", every: float = 300.0, clock: Clock = now
    ) -> None:
        self._store = store
        self._what = what
        self._every = to_seconds("Sweeper: every", every)
        self._clock = clock
        lock = store.sweep_lock if isinstance(store, HostLocal) else None
        self._lock = None if lock is None else HostLock(lock)
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._every * random.uniform(0.5, 1.5))  # noqa: S311
            await self._sweep()

    def start(self) -> None:
        """Start sweeping in a task of the running event loop."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=f"sweeper of {self._what}")

    async def stop(self) -> None:
        """Cancel the task, also during a purge, and wait for its end."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        if self._lock is not None:
            self._lock.release()
        if not task.cancelled():
            task.result()  # raises the exception that ended it

    async def _sweep(self) -> None:
        try:
            if self._lock is not None and not await asyncio.to_thread(self._lock.acquire):
                return
            removed = await self._store.purge(self._clock())
        except (SessionError, OSError) as error:
            logger.warning("Expired %s could not be removed: %s", self._what, error)
            return
        if removed:
            logger.info("Removed %d expired %s", removed, self._what)
