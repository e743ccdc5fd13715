"""Gauges of the session store, refreshed by a request of `/metrics`."""

import asyncio
import logging
from typing import Final

from cartapp.session import SessionError
from cartapp.session.admin import ping
from cartapp.session.stores import Estimable, Pooled, Store

from .figures import Metrics

logger: logging.Logger = logging.getLogger("cartapp.metrics")

_EVERY: Final = 60.0  # seconds between estimates
_SHARE: Final = 100  # the pause after an estimate, as a multiple of its duration
_WAIT: Final = 0.2  # seconds that a response waits for an estimate
_PING: Final = 1.0  # seconds for a ping, as in a readiness check; scrapers wait ten


class StoreGauges:
    """Pings the store, estimates its records at most once a minute, and reads the use of the pool."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._next_estimate = 0.0  # time of the event loop
        self._task: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Update the gauges. A late estimate appears in the next response."""
        if isinstance(self._store, Pooled):
            self._metrics.set_connections(self._store.connections_in_use())
        is_up = await self._responds()
        self._metrics.set_up(is_up)
        if not is_up:
            return
        loop = asyncio.get_running_loop()
        if isinstance(self._store, Estimable) and self._task is None and loop.time() >= self._next_estimate:
            self._task = loop.create_task(self._estimate(self._store))
            await asyncio.wait([self._task], timeout=_WAIT)

    async def _responds(self) -> bool:
        """Ping the store. The operations of requests do not suffice: a shop that is not ready gets none."""
        try:
            await ping(self._store, timeout=_PING)
        except SessionError:
            return False
        return True

    async def _estimate(self, store: Estimable) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            self._metrics.set_records(await store.estimate())
        except SessionError as error:
            logger.info("The number of session records is unknown: %s", error)
        finally:
            self._next_estimate = clock() + max(_EVERY, _SHARE * (clock() - began))
            self._task = None
