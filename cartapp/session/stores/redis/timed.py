"""redis-py's connections with our timers; its own mistake a pause of the event loop for an outage.

It overrides the private method `_connect`: pools, clusters and sentinels connect by different public methods,
which all call it.
"""

from collections.abc import Coroutine
from typing import Any

from redis.asyncio import SSLConnection
from redis.asyncio.connection import Connection
from redis.exceptions import TimeoutError as DriverTimeout

from ..timeouts import SharedTimeout


class TimedConnection(Connection):
    """A TCP connection. Each step (connect, send, read, close) has `socket_timeout` seconds."""

    def __init__(self, *, socket_timeout: float, **options: Any) -> None:
        self._limit = SharedTimeout(socket_timeout)
        super().__init__(**{**options, "socket_timeout": None, "socket_connect_timeout": None})

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """See `Connection.send_packed_command`; connects first where necessary."""
        await self._bounded(super().send_packed_command(*args, **options))

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """See `Connection.read_response`."""
        return await self._bounded(super().read_response(*args, **options))

    async def disconnect(self, *args: Any, **options: Any) -> None:
        """See `Connection.disconnect`."""
        await self._bounded(super().disconnect(*args, **options))

    async def _connect(self) -> None:
        await self._bounded(super()._connect())  # type: ignore[no-untyped-call]

    async def _bounded(self, step: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await self._limit.wait_for(step)
        except TimeoutError as error:
            raise DriverTimeout("no response in time") from error


class TimedSSLConnection(TimedConnection, SSLConnection):
    """A TLS connection."""
