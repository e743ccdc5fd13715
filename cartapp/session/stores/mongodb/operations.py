"""Run PyMongo operations with our timeout, and cancel them only where PyMongo supports it."""

import asyncio
import warnings
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, NotPrimaryError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from ...errors import InvalidStoreURL
from ..timeouts import SharedTimeout
from .errors import NO_ANSWER, reason_of
from .url import Address

T = TypeVar("T")

Client = AsyncMongoClient[dict[str, Any]]

_DRIVER_FACTOR: Final = 3
"""The driver's own timers, in timeouts; ours must fire first.

They are needed for operations that must not be cancelled. A connection being opened, or an operation in
flight, fails if the event loop is blocked for longer.
"""

_MOST: Final = 100_000  # concurrent operations if the number of connections is unlimited


class OperationRunner:
    """Run operations on one client, as many at a time as it has connections. `timeout` is in seconds.

    After a timeout, or an error of a server that is no longer the primary, the other connections are suspect,
    but the driver would keep them. So a new client replaces `client`, and the old one is closed when its
    operations have ended.

    Raises `InvalidStoreURL` for a URL that the driver refuses.
    """

    def __init__(self, address: Address, timeout: float, pool_size: int) -> None:
        self._in_flight = _InFlight()
        self._connect = partial(_client, address, round(timeout * 1000), pool_size, self._in_flight)
        self.client: Client = self._connect()
        most = self.client.options.pool_options.max_pool_size  # the URL may set another number
        self._connections = asyncio.Semaphore(int(most) or _MOST)
        self._limit = SharedTimeout(timeout)
        self._running: set[asyncio.Task[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Return the driver's result. Raises its errors, and TimeoutError."""
        return await self._limit.wait_for(self._run(operation))

    def limit(self) -> AbstractContextManager[None]:
        """Return a context manager that bounds several operations by one timeout. Raises `TimeoutError`."""
        return self._limit.limit()

    async def close(self) -> None:
        """Close all connections and wait for running operations."""
        await self.client.close()
        if under_way := self._running | self._closing:
            await asyncio.wait(under_way)

    def timeout_reason(self) -> str:
        """Return the reason of a timeout, as the end of a sentence: the driver retries silently."""
        servers = self.client.topology_description.server_descriptions().values()
        errors = [server.error for server in servers if server.error is not None]
        return reason_of(errors[0]) if errors else NO_ANSWER

    async def _run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run an operation in its own task, which continues where a cancellation would do harm.

        A task that is cancelled while it takes a connection from the driver's pool would keep the pool's lock
        forever. So operations wait for a free connection here; while the driver opens one, only its own
        timers apply. An operation that waits for the server is cancelled, which closes its connection.
        """
        client = self.client
        try:
            await self._connections.acquire()
        except BaseException:
            operation.close()
            raise
        task = asyncio.create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except NotPrimaryError:
            self._replace(client)
            raise
        finally:
            if (sent_at := self._in_flight.tasks.get(task)) is not None:
                task.cancel()
                # The caller may have a shorter timeout, which ends this operation before ours.
                if asyncio.get_running_loop().time() - sent_at > self._limit.seconds / 2:
                    self._replace(client)

    def _replace(self, client: Client) -> None:
        """Use a new client from now on, unless another operation has replaced it already."""
        if client is not self.client:
            return
        self.client = self._connect()
        closing = asyncio.create_task(_close(client, self._running.copy()))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._connections.release()
        self._running.discard(task)
        self._in_flight.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would log an exception without a caller


async def _close(client: Client, running: set[asyncio.Task[Any]]) -> None:
    if running:
        await asyncio.wait(running)
    await client.close()


class _InFlight(CommandListener):
    """Tasks that wait for the server, with the event loop time of their command."""

    def __init__(self) -> None:
        self.tasks: dict[asyncio.Task[Any] | None, float] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """See `CommandListener`."""
        self.tasks[asyncio.current_task()] = asyncio.get_running_loop().time()

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """See `CommandListener`."""
        self.tasks.pop(asyncio.current_task(), None)

    def failed(self, event: CommandFailedEvent) -> None:
        """See `CommandListener`."""
        self.tasks.pop(asyncio.current_task(), None)


def _client(address: Address, timeout: int, pool_size: int, listener: CommandListener) -> Client:
    """Create a client, not yet connected, with defaults for the URL. `timeout` is in milliseconds."""
    driver_timeout = timeout * _DRIVER_FACTOR
    defaults: dict[str, Any] = {
        "appName": "cartapp",
        "connectTimeoutMS": driver_timeout,
        "event_listeners": [listener],
        "maxConnecting": pool_size,  # a hanging one does not block the others
        "maxPoolSize": pool_size,
        "serverSelectionTimeoutMS": driver_timeout,
        "socketTimeoutMS": driver_timeout,
        "w": "majority",
        "waitQueueTimeoutMS": driver_timeout,
        "wTimeoutMS": timeout,
    }
    given = {name: value for name, value in defaults.items() if name.lower() not in address.options}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # such as an option unknown to the driver
            return AsyncMongoClient(address.uri, connect=False, **given)
    except (ConfigurationError, ValueError, TypeError, UserWarning) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        raise InvalidStoreURL(
            f"The URL of the mongodb store at {address} cannot be used: {reason}."
        ) from None
