"""What becomes of a connection whose request was answered before it had arrived.

To close it at once would make the system send a reset, on which clients may drop a response that they have
already received (RFC 9112, section 9.6).
"""

import asyncio
from typing import Any

from .limits import Limits
from .watch import Watch, Watched


class Linger(Watched, asyncio.Protocol):
    """Reads and drops what still comes, within limits; the client learns at once that no more is sent."""

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], watch: Watch, limits: Limits
    ) -> None:
        self.since = asyncio.get_running_loop().time()
        self._transport, self._connections, self._limits = transport, connections, limits
        self._watch = watch
        self._left = limits.linger_bytes
        connections.add(self)
        transport.set_protocol(self)
        transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        self._watch.forget(self)

    def shutdown(self) -> None:
        """See uvicorn's protocols."""
        self._transport.close()

    def check(self, now: float) -> None:
        """See `Watched`."""
        if now - self.since > self._limits.linger_seconds:
            self._transport.abort()

    def is_waiting(self) -> bool:
        """See `Watched`."""
        return not self._transport.is_closing()

    def evict(self) -> None:
        """See `Watched`."""
        self._transport.abort()
