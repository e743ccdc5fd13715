"""The `mongodb` backend."""

from typing import Final
from urllib.parse import SplitResult

from ..backend import Backend, InvalidPart, StoreOptions, URLParts
from ..base import Store
from ..urls import format_host
from .url import DATABASE, PORT, parse


def _open(url: SplitResult, options: StoreOptions) -> Store:
    from .store import MongoStore

    return MongoStore(parse(url), clock=options.clock, timeout=options.timeout, pool_size=options.pool_size)


def _build_url(parts: URLParts) -> str:
    if parts.password:
        raise InvalidPart(
            "password",
            "mongodb needs a user as well. "
            "Set CART_SESSION_URL=mongodb://user:password@host/database instead.",
        )
    address = format_host(parts.host, parts.port or PORT)
    return f"mongodb://{address}/{parts.database or DATABASE}?collection={parts.collection}"


MONGODB: Final = Backend(
    "mongodb",
    ("mongodb", "mongodb+srv"),
    _open,
    _build_url,
    driver="pymongo",
    packages=("pymongo",),
    size_limits={"mongodb": 16_000_000},  # a document holds 16 MiB
)
