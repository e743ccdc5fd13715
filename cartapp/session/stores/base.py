"""The store contract: keys, bytes, versions and expiry, and never what a session means.

Every method is one atomic step in the backend's own terms, also between processes. The promises of the
whole layer stand on three rules: `create` never replaces, `save` only replaces the version that the caller
has seen, and neither `save` nor `touch` ever brings a record into being.

Each method may raise `StoreUnavailable` when the backend is out of reach; `load` and `scan` alone meet
records that are no records, for which `load` raises `UnreadableRecord` and `scan` passes on.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from ..record import Record, Seen, Summary, Version

PREFIX: Final = "cart:session:"
"""What keys begin with on servers that hold other things as well, unless the store's URL says otherwise."""


class Store(Protocol):
    """What the manager needs of a backend."""

    name: str
    """The backend's name as the settings spell it."""

    async def create(self, record: Record) -> Version | None:
        """Store a new record and return its version; None, and nothing changed, when the key is taken."""
        ...

    async def load(self, key: str) -> Record | None:
        """The record, or None when it is absent or expired."""
        ...

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """Replace the record whose stored version is `expected` and return the new version.

        None, and nothing changed, when the record is gone or has another version; an expired one may count
        as gone.
        """
        ...

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """Set the two times of a record whose version is `expected`; the version stays.

        False, and nothing changed, when it is gone or another version: whoever wrote that version has kept
        the session alive, or rotated it.
        """
        ...

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """Remove a record and say whether there was one.

        With `expected`, only while the stored version and last use are still those of that record.
        """
        ...

    async def ping(self) -> None:
        """One round trip; raises `StoreUnavailable` when there is no answer."""
        ...

    async def close(self) -> None:
        """Give back connections and threads. The store is not used afterwards."""
        ...


@runtime_checkable
class Listable(Protocol):
    """A store that can tell what it holds."""

    def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """All live sessions, or one user's, in no order and in bounded memory; tombstones left out."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A purgeable store that can tell what a purge would remove."""

    async def count_expired(self, now: int) -> int:
        """How many records have expired at `now`."""
        ...


@runtime_checkable
class Purgeable(Protocol):
    """A store whose expired records stay until somebody removes them."""

    async def purge(self, now: int) -> int:
        """Remove the records that have expired at `now` and return their number.

        In small steps and bounded memory. A record that is used again meanwhile stays.
        """
        ...


@runtime_checkable
class HostLocal(Protocol):
    """A store that the processes of one host share."""

    sweep_lock: Path | None
    """A file beside the records that one of these processes locks to sweep for all; None on a server."""
