"""The `memcached` backend. The store speaks the protocol itself, so it needs no driver."""

from typing import Final
from urllib.parse import SplitResult

from ..backend import Backend, InvalidPart, StoreOptions, URLParts
from ..base import Store
from ..urls import format_host
from .url import PORT, parse


def _open(url: SplitResult, options: StoreOptions) -> Store:
    from .store import MemcachedStore

    return MemcachedStore(
        parse(url), clock=options.clock, timeout=options.timeout, pool_size=options.pool_size
    )


def _build_url(parts: URLParts) -> str:
    if parts.password:
        raise InvalidPart("password", "not supported by the memcached backend, which uses no authentication.")
    return f"memcached://{format_host(parts.host, parts.port or PORT)}"


MEMCACHED: Final = Backend(
    "memcached",
    ("memcached",),
    _open,
    _build_url,
    size_limits={"memcached": 1_000_000},  # the server's default for an item is 1 MiB
)
