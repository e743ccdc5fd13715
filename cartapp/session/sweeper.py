"""Removes expired records in the background, where the backend does not do so by itself."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from .errors import StoreUnavailable
from .hooks import logger
from .record import Clock, now
from .stores.base import Purgeable, Store

EVERY = 300.0
"""Seconds between two sweeps of one process, on average."""


@asynccontextmanager
async def sweeping(store: Store, *, every: float = EVERY, clock: Clock = now) -> AsyncIterator[None]:
    """Sweep the store while the block runs; nothing to do for a store that is not `Purgeable`.

    Harmless when several processes do it, since a purge is made of small steps that can be done twice; jitter
    keeps them apart. An outage is logged and tried again at the next turn.
    """
    if not isinstance(store, Purgeable):
        yield
        return
    task = asyncio.create_task(_sweep(store, every, clock))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sweep(store: Purgeable, every: float, clock: Clock) -> None:
    while True:
        await asyncio.sleep(random.uniform(0.5, 1.5) * every)  # noqa: S311 - jitter, not a secret
        try:
            removed = await store.purge(clock())
        except StoreUnavailable as error:
            logger.warning("Expired sessions were not removed: %s", error)
        else:
            logger.debug("%d expired sessions were removed", removed)
