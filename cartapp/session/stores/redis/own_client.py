"""A store on the connection settings of a client that the application has made."""

from typing import TYPE_CHECKING

from ...durations import Duration, to_seconds
from ...errors import MissingDriver
from ...record import Clock, now
from ..base import PREFIX, Store

if TYPE_CHECKING:
    from redis.asyncio import Redis


def redis_store(
    client: "Redis",
    *,
    prefix: str = PREFIX,
    clock: Clock = now,
    timeout: Duration = 2.0,
    pool_size: int = 10,
    max_age: Duration | None = None,
) -> Store:
    """Create a store that connects as a client of redis-py does: credentials, TLS and Sentinel included.

        store = redis_store(Redis(credential_provider=…), prefix="shop:")

    The store opens connections of its own, at most `pool_size`, from the client's connection pool, and closes
    only these. For the other arguments see `open_store`. Raises TypeError for another client: a cluster needs
    a URL.
    """
    try:
        from redis.asyncio import Redis
    except ImportError as error:
        raise MissingDriver("The redis backend needs a driver: pip install 'redis[hiredis]'") from error
    from .client import PoolClient
    from .store import RedisStore
    from .url import PORT, Address

    if not isinstance(client, Redis):
        raise TypeError(
            f"redis_store: expected redis.asyncio.Redis, got {client!r}; see open_store for URLs."
        )
    if not prefix:
        raise ValueError("redis_store: prefix: expected the beginning of every key, got ''.")
    pool = client.connection_pool
    settings = pool.connection_kwargs
    hosts = ((str(settings.get("host", "localhost")), int(settings.get("port", PORT))),)
    return RedisStore(
        Address("redis", "", hosts, prefix=prefix),
        clock=clock,
        timeout=to_seconds("redis_store: timeout", timeout),
        pool_size=pool_size,
        max_age=None if max_age is None else to_seconds("redis_store: max_age", max_age),
        connect=lambda: PoolClient(pool),
    )
