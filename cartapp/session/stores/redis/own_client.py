"""A store on the connection settings of a client that the application has made."""

from typing import TYPE_CHECKING, Any

from ...arguments import check_count
from ...durations import Duration, to_seconds
from ...errors import MissingDriver
from ...record import Clock, now
from ..base import PREFIX, Store

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from .url import Address


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

    if not isinstance(client, Redis):
        raise TypeError(
            f"redis_store: expected redis.asyncio.Redis, got {client!r}; see open_store for URLs."
        )
    if not isinstance(prefix, str) or not prefix:
        raise ValueError(f"redis_store: prefix: expected the beginning of every key, got {prefix!r}.")
    check_count("redis_store: pool_size", pool_size)
    pool = client.connection_pool
    return RedisStore(
        _address(pool, prefix),
        clock=clock,
        timeout=to_seconds("redis_store: timeout", timeout),
        pool_size=pool_size,
        max_age=None if max_age is None else to_seconds("redis_store: max_age", max_age),
        connect=lambda: PoolClient(pool),
    )


def _address(pool: Any, prefix: str) -> "Address":
    """Return the address of a pool's server or sentinels, as error messages show it."""
    from .url import PORT, Address

    sentinels = getattr(getattr(pool, "sentinel_manager", None), "sentinels", ())
    pools = [sentinel.connection_pool for sentinel in sentinels] or [pool]
    settings = [each.connection_kwargs for each in pools]
    hosts = tuple((str(each.get("host", "localhost")), int(each.get("port", PORT))) for each in settings)
    path = str(pool.connection_kwargs.get("path", ""))
    return Address("redis", "", hosts, path, getattr(pool, "service_name", ""), prefix=prefix)
