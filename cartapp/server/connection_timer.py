"""One timer for all connections of a server: time limits, eviction, and a log line about both."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from heapq import nsmallest
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

_INTERVAL: Final = 1.0  # seconds
_LOG_INTERVAL: Final = 60.0
_EVICTED_SHARE: Final = 20  # one in this many connections is evicted at a time

logger = logging.getLogger("cartapp.server")


class TimedConnection(ABC):
    """Connection that the timer checks."""

    since: float
    """Event-loop time of the last change of state: connected, request begun, response completed."""

    @abstractmethod
    def check(self, now: float) -> None:
        """Close the connection if it exceeds a time limit."""

    @abstractmethod
    def is_waiting(self) -> bool:
        """Return whether the server waits for the client and has started no response."""

    @abstractmethod
    def evict(self) -> None:
        """Close the connection to make room for another."""


class ConnectionTimer:
    """Timer of one server, active while there are connections."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._evicted: set[TimedConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._counts: Counter[str] = Counter()
        self._next_log = 0.0

    def start(self) -> None:
        """Start the timer unless it is active."""
        if self._timer is None:
            self._timer = self._loop.call_later(_INTERVAL, self._tick)

    def count(self, reason: str) -> None:
        """Count a request or connection that a limit ended, for the log."""
        self._counts[reason] += 1

    def count_connections(self) -> int:
        """Return the number of connections without evicted ones that are still closing."""
        return len(self._connections) - len(self._evicted)

    def make_room(self, new: TimedConnection) -> bool:
        """Evict the connections other than `new` that have waited longest. Return False if none waits.

        Deliberately slow clients wait longest: others send a request within moments. Several connections are
        evicted at a time, since inspecting all of them takes as long as some requests.
        """
        waiting = [one for one in self._timed() if one is not new and one.is_waiting()]
        for one in nsmallest(
            max(1, self.count_connections() // _EVICTED_SHARE), waiting, key=lambda one: one.since
        ):
            self._evicted.add(one)
            one.evict()
        return bool(waiting)

    def forget(self, connection: TimedConnection) -> None:
        """Drop a closed connection."""
        self._evicted.discard(connection)

    def _timed(self) -> list[TimedConnection]:
        return [one for one in self._connections if isinstance(one, TimedConnection)]

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for one in self._timed():
            one.check(now)
        if self._counts and now >= self._next_log:
            self._next_log = now + _LOG_INTERVAL
            counts = ", ".join(f"{reason}: {number}" for reason, number in sorted(self._counts.items()))
            logger.warning("Limits reached since the last report: %s", counts)
            self._counts.clear()
        if self._connections or self._counts:
            self.start()


_timers: WeakKeyDictionary[ServerState, ConnectionTimer] = WeakKeyDictionary()


def get_connection_timer(state: ServerState) -> ConnectionTimer:
    """Return the timer of the server with this state."""
    timer = _timers.get(state)
    if timer is None:
        timer = _timers[state] = ConnectionTimer(state.connections)
    return timer
