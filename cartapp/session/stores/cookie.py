"""The `cookie` backend: sessions are in their cookies, so its store is empty."""

from typing import Final
from urllib.parse import SplitResult

from ..errors import InvalidStoreURL, StoreNotSupported
from ..record import Record, RecordOrSummary, Version
from .backend import Backend, StoreOptions, URLParts
from .base import Store

_NOT_SUPPORTED: Final = "The cookie backend keeps each session in its browser's cookie; there is no store."


class NoStore:
    """A store for code that opens, checks and closes one. Writing raises `StoreNotSupported`."""

    name = "cookie"

    async def create(self, record: Record) -> Version | None:
        """Raises `StoreNotSupported`."""
        raise StoreNotSupported(_NOT_SUPPORTED)

    async def load(self, key: str) -> Record | None:
        """Return None."""
        return None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """Raises `StoreNotSupported`."""
        raise StoreNotSupported(_NOT_SUPPORTED)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """Return False."""
        return False

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """Return False."""
        return False

    async def ping(self) -> None:
        """Do nothing: there is no server."""

    async def close(self) -> None:
        """Do nothing."""


def _open(url: SplitResult, options: StoreOptions) -> Store:  # noqa: ARG001 - the signature of `Backend.open`
    if url.netloc or url.path or url.query or url.fragment:
        raise InvalidStoreURL("The cookie backend's URL is cookie:// with nothing after it.")
    return NoStore()


def _build_url(parts: URLParts) -> str:  # noqa: ARG001 - the signature of `Backend.build_url`
    return "cookie://"


COOKIE: Final = Backend("cookie", ("cookie",), _open, _build_url, local_schemes=("cookie",))
