"""One timer for all connections of a server: time limits, room for new connections, and a line in the log."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from heapq import nsmallest
from typing import Any, Final
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

_TICK: Final = 1.0  # seconds
_LOG_EVERY: Final = 60.0
_SHARE: Final = 20  # one in so many connections is evicted at a time

logger = logging.getLogger("cartapp.server")


class Watched(ABC):
    """A connection, as the timer knows it."""

    since: float
    """When its state last changed, by the clock of the event loop: made, a request began, was answered."""

    @abstractmethod
    def check(self, now: float) -> None:
        """Close the connection where a time limit has passed."""

    @abstractmethod
    def is_waiting(self) -> bool:
        """Whether the server waits for the client, and has begun no response."""

    @abstractmethod
    def evict(self) -> None:
        """Close the connection, for another one to take its place."""


class Watch:
    """The timer of one server. It runs while there are connections."""

    def __init__(self, connections: set[Any]) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._evicted: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._counted: Counter[str] = Counter()
        self._next_line = 0.0

    def start(self) -> None:
        """Start the timer, unless it runs."""
        if self._timer is None:
            self._timer = self._loop.call_later(_TICK, self._tick)

    def count(self, what: str) -> None:
        """Count a request or a connection that a limit has ended, for the log."""
        self._counted[what] += 1

    def number(self) -> int:
        """Connections without those that have been evicted and are not closed yet."""
        return len(self._connections) - len(self._evicted)

    def make_room(self, new: Watched) -> bool:
        """Evict connections that have waited longest, other than `new`. False when none waits.

        A client that is slow on purpose has waited longest: others send a request within moments. Several are
        evicted at once, since each look at all connections takes as long as some requests.
        """
        waiting = [one for one in self._watched() if one is not new and one.is_waiting()]
        for one in nsmallest(max(1, self.number() // _SHARE), waiting, key=lambda one: one.since):
            self._evicted.add(one)
            one.evict()
        return bool(waiting)

    def forget(self, connection: Watched) -> None:
        """Note that a connection is closed."""
        self._evicted.discard(connection)

    def _watched(self) -> list[Watched]:
        return [one for one in self._connections if isinstance(one, Watched)]

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for one in self._watched():
            one.check(now)
        if self._counted and now >= self._next_line:
            self._next_line = now + _LOG_EVERY
            listed = ", ".join(f"{what}: {number}" for what, number in sorted(self._counted.items()))
            logger.warning("Ended by a limit since the last such line: %s", listed)
            self._counted.clear()
        if self._connections or self._counted:
            self.start()


_watches: WeakKeyDictionary[ServerState, Watch] = WeakKeyDictionary()


def watch_of(state: ServerState) -> Watch:
    """The timer of the server with this state."""
    watch = _watches.get(state)
    if watch is None:
        watch = _watches[state] = Watch(state.connections)
    return watch
