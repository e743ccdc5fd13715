"""The `redis` and `valkey` backends, which share one store."""

from typing import Final
from urllib.parse import SplitResult, quote

from ..backend import Backend, InvalidPart, StoreOptions, URLParts
from ..base import Store
from ..urls import format_host
from .url import PORT, parse


def _open(url: SplitResult, options: StoreOptions) -> Store:
    from .store import RedisStore

    return RedisStore(
        parse(url),
        clock=options.clock,
        timeout=options.timeout,
        pool_size=options.pool_size,
        max_age=options.max_age,
    )


def _backend(name: str, tls: str) -> Backend:
    def build_url(parts: URLParts) -> str:
        database = parts.database or "0"
        if not database.isdigit():
            raise InvalidPart("database", f"expected a number for {name}, got {database!r}.")
        login = f":{quote(parts.password, safe='')}@" if parts.password else ""
        return f"{name}://{login}{format_host(parts.host, parts.port or PORT)}/{database}"

    several = [f"{scheme}+{kind}" for kind in ("sentinel", "cluster") for scheme in (name, tls)]
    schemes = (name, tls, f"{name}+unix", *several)
    return Backend(name, schemes, _open, build_url, driver="redis", packages=("redis[hiredis]",))


REDIS: Final = _backend("redis", "rediss")
VALKEY: Final = _backend("valkey", "valkeys")
