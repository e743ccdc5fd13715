"""Lingering close of a connection after a response that precedes the end of its request.

An immediate close would send a reset, on which clients may discard the response (RFC 9112, section 9.6).
"""

import asyncio
from typing import Any

from .connection_timer import ConnectionTimer, TimedConnection
from .limits import Limits


class LingeringClose(TimedConnection, asyncio.Protocol):
    """Protocol that ends the writing side, then discards incoming data within the limits."""

    def __init__(
        self, transport: asyncio.Transport, connections: set[Any], timer: ConnectionTimer, limits: Limits
    ) -> None:
        self.since = asyncio.get_running_loop().time()
        self._transport, self._connections, self._limits = transport, connections, limits
        self._timer = timer
        self._remaining = limits.linger_bytes
        connections.add(self)
        transport.set_protocol(self)
        transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._remaining -= len(data)
        if self._remaining < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._connections.discard(self)
        self._timer.forget(self)

    def shutdown(self) -> None:
        """See uvicorn's protocols."""
        self._transport.close()

    def check(self, now: float) -> None:
        """See `TimedConnection`."""
        if now - self.since > self._limits.linger_seconds:
            self._transport.abort()

    def is_waiting(self) -> bool:
        """See `TimedConnection`."""
        return not self._transport.is_closing()

    def evict(self) -> None:
        """See `TimedConnection`."""
        self._transport.abort()
