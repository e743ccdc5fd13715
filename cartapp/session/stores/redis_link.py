"""Connections to Redis and Valkey by redis-py: one server, what the sentinels call the master, or a cluster.

Nothing is sent twice but what a server has refused undone, as with MOVED. When a connection breaks, nobody
knows whether the last command took effect, and a compare-and-set that is repeated blindly could be counted as
a conflict or, had somebody else built on its first run, be applied twice. So retries are off; a connection
that the server has closed while it was idle is noticed before it is used. `idle` says when others are closed.
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
from redis.exceptions import ResponseError, SlotNotCoveredError

from .idle import KEEPALIVE, IdleConnections
from .redis_errors import is_no_primary
from .redis_timed import TimedConnection, TimedSSLConnection
from .redis_url import Address

_KEPT_ALIVE: Final = {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}

Place = ClusterNode | None
"""A node of a cluster that is meant; None for whoever has the command's key."""


class Command(NamedTuple):
    """A command's words, and who is to get them."""

    words: tuple[str | bytes | int, ...]
    at: Place = None


class Link(Protocol):
    """A way to send commands."""

    most: int
    """How many commands one `send` may take."""

    async def send(self, commands: Sequence[Command], answered: Callable[[object], None]) -> None:
        """As `gather.Send` wants it; raises redis-py's errors."""
        ...

    async def places(self) -> Sequence[Place]:
        """Where there are keys: all places to ask for a listing of everything."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def link_to(address: Address, *, timeout: float, pool_size: int) -> Link:
    """A link, not yet connected. `timeout` is in seconds; of a cluster, `pool_size` is that of each node."""
    if address.kind == "cluster":
        return ClusterLink(address, timeout, pool_size)
    if address.kind == "sentinel":
        return _sentinel_link(address, timeout)
    options = {**_options(address), **_unnamed(), "db": address.database}
    if address.kind == "unix":
        return PoolLink(ConnectionPool(UnixDomainSocketConnection, path=address.path, **options))
    host, port = address.hosts[0]
    kind = Connection if address.tls is None else SSLConnection
    return PoolLink(ConnectionPool(kind, host=host, port=port, **options))


def _options(address: Address) -> dict[str, Any]:
    """Arguments of every connection. RESP2 needs no greeting and is all that strings and lists ask for."""
    return {
        "protocol": 2,
        # The caller bounds each step: redis-py's timers would take a pause of the event loop for an outage.
        "socket_connect_timeout": None,
        "socket_timeout": None,
        **({} if address.kind == "unix" else _KEPT_ALIVE),
        **address.login,
        **(address.tls or {}),
    }


def _unnamed() -> dict[str, Any]:
    """Arguments of a connection that does not send CLIENT SETINFO, at which a twemproxy closes it."""
    if hasattr(redis, "DriverInfo"):
        return {"driver_info": redis.DriverInfo(name="", lib_version="")}
    return {"lib_name": None, "lib_version": None}  # redis-py before 7.2


def _sentinel_link(address: Address, timeout: float) -> "PoolLink":
    # The sentinels are asked one after the other: one that hangs must leave time for the next.
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
    return PoolLink(pool, sentinel.sentinels)


class PoolLink:
    """One server at a time, over as many connections as there are batches under way.

    redis-py's pool opens connections and says whether an idle one still works. It does not keep them: to
    make it close its idle ones would close one that another task takes meanwhile.
    """

    most = 100

    def __init__(self, pool: ConnectionPool, sentinels: Sequence[Redis] = ()) -> None:
        self._pool = pool
        self._sentinels = sentinels
        self._idle = IdleConnections[AbstractConnection]()

    async def send(self, commands: Sequence[Command], answered: Callable[[object], None]) -> None:
        """See `Link.send`."""
        generation = self._idle.generation
        connection = await self._usable()
        try:
            # redis-py's own packing is Python. (The type that hiredis names is that of a tuple of one.)
            packed = [hiredis.pack_command(command.words) for command in commands]  # type: ignore[arg-type]
            await connection.send_packed_command(b"".join(packed))
            for _ in commands:
                try:
                    answer = await connection.read_response()
                except ResponseError as refusal:
                    if is_no_primary(refusal):
                        await _disconnect(self._idle.distrust(generation))
                    answer = refusal
                answered(answer)
        except BaseException:
            # Answers may still be on their way, which the next user of the connection would take for its own.
            await _disconnect([connection, *self._idle.distrust(generation)])
            raise
        if not self._idle.put(connection, generation):
            await _disconnect([connection])

    async def _usable(self) -> AbstractConnection:
        """Take an idle connection, connected again if the server has closed it, or open one."""
        connection = self._idle.take() or self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await self._pool.ensure_connection(connection)
        except BaseException:
            await _disconnect([connection])
            raise
        return connection

    async def places(self) -> Sequence[Place]:
        """See `Link.places`."""
        return [None]

    async def close(self) -> None:
        """See `Link.close`."""
        for connection in self._idle.clear():
            await connection.disconnect()
        for sentinel in self._sentinels:
            await sentinel.aclose()


async def _disconnect(connections: Sequence[AbstractConnection]) -> None:
    """Close connections at once: a server that hangs would not say farewell."""
    for connection in connections:
        await connection.disconnect(nowait=True)


def _unchanged(response: Any, **_: Any) -> Any:
    return response


class ClusterLink:
    """A cluster: redis-py knows which node has a key and learns anew when that changes."""

    most = 1

    def __init__(self, address: Address, timeout: float, pool_size: int) -> None:
        # Half of it: a node that hangs must leave time to ask another one who has its keys now, and must not
        # look like a cluster that hangs, since the others go on.
        options = {**_options(address), "socket_timeout": timeout / 2}
        if address.tls is not None:
            options["ssl"] = True
        self._client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
            require_full_coverage=False,  # the nodes that are there go on serving their part
            # A key that has moved corrects the map for its part; to make the whole map anew would close the
            # connections that others are using.
            reinitialize_steps=0,
            retry=Retry(NoBackoff(), 0),
            max_connections=2 * pool_size,  # one that is being given up counts until it is closed
            **options,
        )
        self._client.set_response_callback("ZSCAN", _unchanged)  # it would make pairs of the list
        # It has no argument for the kind of connections.
        kind = TimedConnection if address.tls is None else TimedSSLConnection
        self._client.get_connection_kwargs()["connection_class"] = kind
        for node in self._client.nodes_manager.startup_nodes.values():
            node.connection_class = kind

    async def send(self, commands: Sequence[Command], answered: Callable[[object], None]) -> None:
        """See `Link.send`."""
        for command in commands:
            # Without this redis-py sends what comes before it knows the nodes to any of them.
            await self._client.initialize()
            whom = self._client if command.at is None else command.at
            try:
                answered(await whom.execute_command(*command.words))
            except KeyError as error:  # the map of who has which key has a hole there
                raise SlotNotCoveredError from error

    async def places(self) -> Sequence[Place]:
        """See `Link.places`."""
        await self._client.initialize()
        return self._client.get_primaries()

    async def close(self) -> None:
        """See `Link.close`."""
        await self._client.aclose()
