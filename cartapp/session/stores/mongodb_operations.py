"""PyMongo's operations, bounded by a timeout of ours and cancelled only where PyMongo bears it."""

import asyncio
import warnings
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, NotPrimaryError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from ..errors import InvalidStoreURL
from .mongodb_errors import NO_ANSWER, reason_of
from .mongodb_url import Address
from .timeouts import SharedTimeout

T = TypeVar("T")

Client = AsyncMongoClient[dict[str, Any]]

_DRIVER_FACTOR: Final = 3
"""How many timeouts the driver's own timers last, since ours has to be first.

It cannot do without them: they end what is not to be cancelled. A connection that is being made while the
event loop is blocked for longer than that fails, and so does an operation under way.
"""


_MOST: Final = 100_000  # operations at a time, where the number of connections has no limit


class Operations:
    """Runs operations of one client, as many at a time as it has connections. `timeout` is in seconds.

    Connections are trusted only as long as they work, and the driver would keep the others when one of them
    gets no answer in time, or leads to a server that is not the primary any more. So a new client, with
    connections of its own, takes the place of `client`; the former one is closed when nothing runs on it.

    Raises `InvalidStoreURL` for a URL that the driver refuses.
    """

    def __init__(self, address: Address, timeout: float, pool_size: int) -> None:
        self._sent = _Sent()
        self._connect = partial(_client, address, round(timeout * 1000), pool_size, self._sent)
        self.client = self._connect()
        most = self.client.options.pool_options.max_pool_size  # the URL may say another number
        self._connections = asyncio.Semaphore(int(most) or _MOST)
        self._limit = SharedTimeout(timeout)
        self._running: set[asyncio.Task[Any]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Return what the driver answers. Raises its errors, and TimeoutError."""
        return await self._limit.wait_for(self._run(operation))

    async def close(self) -> None:
        """Close every connection and wait for the operations under way."""
        await self.client.close()
        if under_way := self._running | self._closing:
            await asyncio.wait(under_way)

    def why_late(self) -> str:
        """Why there was no answer in time, as the end of a sentence: the driver retries silently."""
        servers = self.client.topology_description.server_descriptions().values()
        errors = [server.error for server in servers if server.error is not None]
        return reason_of(errors[0]) if errors else NO_ANSWER

    async def _run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Run it in a task of its own, which goes on where a cancellation would do harm.

        Cancelled while it takes a connection out of the driver's pool, it would keep the pool's lock for
        good. So operations wait here for their turn, and one whose connection is being made is left to the
        driver's timers. One that waits for the server is cancelled, which closes its connection.
        """
        client = self.client
        try:
            await self._connections.acquire()
        except BaseException:
            operation.close()
            raise
        task = asyncio.create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except NotPrimaryError:
            self._replace(client)
            raise
        finally:
            if (sent_at := self._sent.tasks.get(task)) is not None:
                task.cancel()
                # If the caller has a timeout as well, that ends this operation before ours does.
                if asyncio.get_running_loop().time() - sent_at > self._limit.seconds / 2:
                    self._replace(client)

    def _replace(self, client: Client) -> None:
        """Use a new client from now on, unless another operation has seen to that."""
        if client is not self.client:
            return
        self.client = self._connect()
        closing = asyncio.create_task(_close(client, self._running.copy()))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._connections.release()
        self._running.discard(task)
        self._sent.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # otherwise asyncio would log one that no caller has waited for


async def _close(client: Client, running: set[asyncio.Task[Any]]) -> None:
    if running:
        await asyncio.wait(running)
    await client.close()


class _Sent(CommandListener):
    """The tasks that have sent a command and wait for the server, and since when, in event loop time."""

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
    """A client, not yet connected, with what the URL leaves open; `timeout` is in milliseconds."""
    driver_timeout = timeout * _DRIVER_FACTOR
    defaults: dict[str, Any] = {
        "appName": "cartapp",
        "connectTimeoutMS": driver_timeout,
        "event_listeners": [listener],
        "maxConnecting": pool_size,  # those that hang hold up no others
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
            warnings.simplefilter("error", UserWarning)  # for one, an option that the driver does not know
            return AsyncMongoClient(address.uri, connect=False, **given)
    except (ConfigurationError, ValueError, TypeError, UserWarning) as error:
        reason = str(error).partition(". ")[0].rstrip(".")
        raise InvalidStoreURL(
            f"The URL of the mongodb store at {address} cannot be used: {reason}."
        ) from None
