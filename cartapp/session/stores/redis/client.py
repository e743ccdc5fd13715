"""Clients for Redis and Valkey on redis-py: one server, the master of some sentinels, or a cluster.

Only a command that a server refused without effect (MOVED) is sent again. After a broken connection the
effect of the last command is unknown: a blindly repeated compare-and-set could look like a conflict or, after
a concurrent change on top of the first run, be applied twice. So retries are off. A connection that the
server closed while it was idle is replaced before use; for the other connections see `idle`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import hiredis
import redis
from redis.asyncio import Redis, Sentinel, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, ResponseError, SlotNotCoveredError

from ..idle import KEEPALIVE, IdleConnections
from .errors import is_no_primary
from .timed import TimedConnection, TimedSSLConnection
from .url import Address

_KEPT_ALIVE: Final = {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}

_WRITES: Final = ("SET", "EVALSHA", "EVAL", "DEL")
_DONE: Final = (b"OK", 1)
"""Commands that change a record, and their responses after a change."""

Node = ClusterNode | None
"""A node of a cluster; None for the node that has the command's key."""


class Command(NamedTuple):
    """The words of a command, and the node that gets it."""

    words: tuple[str | bytes | int, ...]
    at: Node = None


class Client(Protocol):
    """Connections to a server or cluster."""

    max_batch: int
    """Largest number of commands for one `send`."""

    async def send(self, commands: Sequence[Command], on_response: Callable[[object], None]) -> None:
        """See `batching.Send`. Raises redis-py's errors."""
        ...

    async def nodes(self) -> Sequence[Node]:
        """Return the nodes that together have all keys."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def create_client(address: Address, *, timeout: float, pool_size: int) -> Client:
    """Create a client, not yet connected. `timeout` is in seconds, `pool_size` for each cluster node."""
    if address.kind == "cluster":
        return ClusterClient(address, timeout, pool_size)
    if address.kind == "sentinel":
        return _sentinel_link(address, timeout)
    options = {**_options(address), **_unnamed(), "db": address.database}
    if address.kind == "unix":
        return PoolClient(ConnectionPool(UnixDomainSocketConnection, path=address.path, **options))
    host, port = address.hosts[0]
    kind = Connection if address.tls is None else SSLConnection
    return PoolClient(ConnectionPool(kind, host=host, port=port, **options))


def _options(address: Address) -> dict[str, Any]:
    """Return arguments of every connection. RESP2 needs no HELLO, and strings and lists need no more."""
    return {
        "protocol": 2,
        # The batcher has the timeout: redis-py's timers mistake a pause of the event loop for an outage.
        "socket_connect_timeout": None,
        "socket_timeout": None,
        **({} if address.kind == "unix" else _KEPT_ALIVE),
        **address.login,
        **(address.tls or {}),
    }


def _unnamed() -> dict[str, Any]:
    """Return arguments that suppress CLIENT SETINFO, at which twemproxy closes the connection."""
    if hasattr(redis, "DriverInfo"):
        return {"driver_info": redis.DriverInfo(name="", lib_version="")}
    return {"lib_name": None, "lib_version": None}  # redis-py before 7.2


def _sentinel_link(address: Address, timeout: float) -> "PoolClient":
    # Sentinels are queried one after the other: a hanging one must leave time for the next.
    asking: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout / (len(address.hosts) + 1),
        "retry": Retry(NoBackoff(), 0),
        **_KEPT_ALIVE,
        **_unnamed(),
        **address.sentinel_login,
        **(address.tls or {}),
    }
    kind = TimedConnection if address.tls is None else TimedSSLConnection
    pools = [ConnectionPool(kind, host=host, port=port, **asking) for host, port in address.hosts]
    sentinel = Sentinel([])  # type: ignore[no-untyped-call]
    sentinel.sentinels = [Redis.from_pool(pool) for pool in pools]
    options = {**_options(address), **_unnamed(), "db": address.database}
    if address.tls is not None:
        options |= {"ssl": True, **address.tls}
    pool = SentinelConnectionPool(address.master, sentinel, **options)  # type: ignore[no-untyped-call]
    return PoolClient(pool, sentinel.sentinels)


class PoolClient:
    """One server, with as many connections as batches in flight.

    redis-py's pool opens connections and checks idle ones. It does not keep them, since closing its idle
    connections would also close one that another task has just taken.
    """

    max_batch = 100

    def __init__(self, pool: ConnectionPool, sentinels: Sequence[Redis] = ()) -> None:
        self._pool = pool
        self._sentinels = sentinels
        self._idle = IdleConnections[AbstractConnection]()

    async def send(self, commands: Sequence[Command], on_response: Callable[[object], None]) -> None:
        """See `Client.send`."""
        generation = self._idle.generation
        connection = await self._checkout()
        try:
            # redis-py packs in Python. (hiredis declares a tuple of one.)
            packed = [hiredis.pack_command(command.words) for command in commands]  # type: ignore[arg-type]
            await connection.send_packed_command(b"".join(packed))
            for command in commands:
                try:
                    answer = await connection.read_response(disable_decoding=True)
                except ResponseError as refusal:
                    if is_no_primary(refusal):
                        await _disconnect(self._idle.invalidate(generation))
                    answer = refusal
                else:
                    if answer in _DONE and command.words[0] in _WRITES:
                        await _disconnect(self._idle.confirm_write(generation))
                on_response(answer)
        except BaseException:
            # Responses may still arrive, which the next user of the connection would take for its own.
            await _disconnect([connection, *self._idle.invalidate(generation)])
            raise
        if not self._idle.put(connection, generation):
            await _disconnect([connection])

    async def _checkout(self) -> AbstractConnection:
        """Take an idle connection, reconnected if the server has closed it, or open one."""
        connection = self._idle.take() or self._open()
        try:
            await self._pool.ensure_connection(connection)
        except BaseException:
            await _disconnect([connection])
            raise
        return connection

    def _open(self) -> AbstractConnection:
        """Return a new connection, without the retries of a client of the application.

        They may last longer than the timeout, so that a refused connection would look like a hanging server.
        """
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        connection.retry = Retry(NoBackoff(), 0)
        return connection

    async def nodes(self) -> Sequence[Node]:
        """See `Client.nodes`."""
        return [None]

    async def close(self) -> None:
        """See `Client.close`."""
        for connection in self._idle.clear():
            await connection.disconnect()
        for sentinel in self._sentinels:
            await sentinel.aclose()


async def _disconnect(connections: Sequence[AbstractConnection]) -> None:
    """Close connections without waiting for the server, which may hang."""
    for connection in connections:
        await connection.disconnect(nowait=True)


def _unchanged(response: Any, **_: Any) -> Any:
    return response


class ClusterClient:
    """A cluster. redis-py tracks which node has a key."""

    max_batch = 1

    def __init__(self, address: Address, timeout: float, pool_size: int) -> None:
        # Half of it: a hanging node must leave time to query another one for the new owner of its keys, and
        # must not look like a hanging cluster, since the other nodes work.
        options = {**_options(address), "socket_timeout": timeout / 2}
        if address.tls is not None:
            options["ssl"] = True
        self._client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
            require_full_coverage=False,  # the remaining nodes keep serving their slots
            # A moved key updates its slot only; rebuilding the whole map would close connections in use.
            reinitialize_steps=0,
            retry=Retry(NoBackoff(), 0),
            max_connections=2 * pool_size,  # an abandoned one counts until it is closed
            **options,
        )
        self._client.set_response_callback("ZSCAN", _unchanged)  # redis-py would turn the list into pairs
        # It has no argument for the connection class.
        kind = TimedConnection if address.tls is None else TimedSSLConnection
        self._client.get_connection_kwargs()["connection_class"] = kind
        self._seeds = dict(self._client.nodes_manager.startup_nodes)
        for node in self._seeds.values():
            node.connection_class = kind

    async def send(self, commands: Sequence[Command], on_response: Callable[[object], None]) -> None:
        """See `Client.send`."""
        for command in commands:
            await self._initialize()
            target = self._client if command.at is None else command.at
            try:
                on_response(await target.execute_command(*command.words))
            except KeyError as error:  # no node has this slot
                raise SlotNotCoveredError from error

    async def _initialize(self) -> None:
        """Load the map of the cluster. Without this redis-py sends the first commands to any node."""
        try:
            await self._client.initialize()
        except RedisClusterException:
            # redis-py before 7.2 removes a node that failed; after the last one it never connects again.
            self._client.nodes_manager.startup_nodes.update(self._seeds)
            raise

    async def nodes(self) -> Sequence[Node]:
        """See `Client.nodes`."""
        await self._initialize()
        return self._client.get_primaries()

    async def close(self) -> None:
        """See `Client.close`."""
        await self._client.aclose()
