"""Removes what has expired in the background, for stores whose records stay until somebody does.

Nothing depends on it but space: what has expired is absent for everybody already. Any number of workers may
sweep the same store, since each purge takes only what is still expired at that moment. Where all that is
stored has to be looked at, one of a host's processes sweeps for all.
"""

import asyncio
import logging
import random

from .errors import SessionError
from .host_lock import HostLock
from .record import Clock, now
from .stores.base import HostLocal, Purgeable

logger = logging.getLogger("cartapp.session")


class Sweeper:
    """Purges a store about every `every` seconds, from `start` to `stop`. `what` it removes is for the log.

    Each pause is between half and one and a half times as long, so that workers that were started together
    do not sweep together. A purge that fails is logged, and tried again after the next pause.

    Where the store is one of this host, only the process that has its lock sweeps, and keeps it to the end;
    then another one takes it after its next pause.
    """

    def __init__(
        self, store: Purgeable, *, what: str = "sessions", every: float = 300.0, clock: Clock = now
    ) -> None:
        self._store = store
        self._what = what
        self._every = every
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
        """Sweep in a task of the running event loop."""
        if self._task is None:
            self._task = asyncio.create_task(self.run(), name=f"sweeper of {self._what}")

    async def stop(self) -> None:
        """End the task, amid a purge if need be: what it has removed is gone, what it has not stays."""
        if self._task is None:
            return
        task, self._task = self._task, None
        task.cancel()
        await asyncio.wait([task])
        if self._lock is not None:
            self._lock.release()
        if not task.cancelled():
            task.result()  # raises what ended it before its time

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
