"""The store contract: keys, bytes, versions and expiry, without session semantics.

Every method is one atomic step of the backend, also between processes. The promises of the session layer
rest on three rules: `create` never replaces a record, `save` replaces only the expected version, and neither
`save` nor `touch` ever creates a record.

A store bounds each round trip by its own timeout and raises `StoreTimeout`; `timeouts.SharedTimeout` does it.

Each method may raise `StoreUnavailable`. For a record that cannot be decoded, `load` raises
`UnreadableRecord`; `scan` skips it.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from ..record import Record, RecordOrSummary, Summary, Version

PREFIX: Final = "cart:session:"
"""Default prefix of the keys on a shared server; the store's URL can set another one."""

_ATTRIBUTES: Final = ("create", "load", "save", "touch", "delete", "name")


class Store(Protocol):
    """The operations that the session manager needs."""

    name: str
    """The backend's name as the settings spell it."""

    async def create(self, record: Record) -> Version | None:
        """Store a new record and return its version. Return None, changing nothing, if the key is taken."""
        ...

    async def load(self, key: str) -> Record | None:
        """Return the record, or None if it is missing or expired."""
        ...

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """Replace the record if its stored version is `expected`, and return the new version.

        Return None, changing nothing, if the record is missing or its version differs; an expired record may
        count as missing.
        """
        ...

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """Set both times of the record if its version is `expected`; the version does not change.

        Return False, changing nothing, if the record is missing or its version differs; the concurrent write
        already extended or rotated the session.
        """
        ...

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """Remove a record and return whether there was one.

        With `expected`, remove it only if its version and last use are still the same.
        """
        ...

    async def ping(self) -> None:
        """Make one round trip. Raises `StoreUnavailable`."""
        ...

    async def close(self) -> None:
        """Close connections and threads. The store cannot be used afterwards."""
        ...


def check_store(owner: str, store: object, expectation: str = "a store such as open_store(url)") -> None:
    """Raise TypeError, in the name of `owner`, unless `store` has the operations of a store."""
    if isinstance(store, type) or not all(hasattr(store, name) for name in _ATTRIBUTES):
        given = "a string" if isinstance(store, str) else repr(store)  # a URL may contain a password
        raise TypeError(f"{owner}: expected {expectation}, got {given}.")


@runtime_checkable
class Listable(Protocol):
    """A store that can list its sessions."""

    def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        """Yield all live sessions, or one user's, unordered and in bounded memory, without tombstones."""
        ...


@runtime_checkable
class Countable(Protocol):
    """A purgeable store that can count expired records."""

    async def count_expired(self, now: int) -> int:
        """Return the number of records that are expired at `now`."""
        ...


@runtime_checkable
class Purgeable(Protocol):
    """A store that does not remove expired records by itself."""

    async def purge(self, now: int) -> int:
        """Remove the records that are expired at `now` and return their number.

        Works in small steps and bounded memory, and keeps a record that is extended concurrently.
        """
        ...


@runtime_checkable
class Indexed(Protocol):
    """A store with an index of each user's sessions, which needs access rights of its own."""

    async def check_index(self, user_id: str) -> None:
        """Read a user's index and remove nothing from it. Raises `StoreUnavailable` without the rights."""
        ...


@runtime_checkable
class HostLocal(Protocol):
    """A store shared by the processes of one host."""

    sweep_lock: Path | None
    """The file that one of these processes locks to sweep for all of them; None on a server."""
