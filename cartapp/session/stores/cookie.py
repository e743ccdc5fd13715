"""The store of the cookie backend: there is none, and what needs one says so."""

from ..errors import StoreNotSupported
from ..record import Record, Seen, Version


class NoStore:
    """Stands where a store is opened, looked at and closed; the sessions are in their cookies."""

    name = "cookie"

    async def create(self, record: Record) -> Version | None:
        """Raises `StoreNotSupported`."""
        raise StoreNotSupported(_SENTENCE)

    async def load(self, key: str) -> Record | None:
        """Nothing is here."""
        return None

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """Raises `StoreNotSupported`."""
        raise StoreNotSupported(_SENTENCE)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """Nothing is here."""
        return False

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """Nothing is here."""
        return False

    async def ping(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to close."""


_SENTENCE = "The cookie backend keeps each session in its browser's cookie; there is no store."
