"""Optional abilities of stores for operators: queries that the backend answers, and changes of many records.

The functions of `admin` use them where a store has them, and `Listable.scan` otherwise.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, runtime_checkable

import msgspec

from ..arguments import check_integer, check_text, check_user_id
from ..errors import UnreadableRecord
from ..record import Record, Summary, Version

Order = Literal["last_seen", "created", "expires", "size", "user", "handle"]
"""Times and sizes descend; names ascend, with guests last."""

_FIELDS: Final = {"last_seen": "last_used", "created": "created", "expires": "expires", "size": "size"}
"""Fields of `Summary` for the descending orders."""


class Query(msgspec.Struct, frozen=True):
    """A selection of live sessions: all, or those that meet every condition given.

    Raises TypeError or ValueError for an impossible condition.
    """

    user_id: str | None = None
    prefix: str = ""
    """The first characters of the key."""
    used_before: int | None = None
    """Last use before this time, in milliseconds since 1970 UTC."""
    used_since: int | None = None
    """Last use at this time or later."""
    created_since: int | None = None
    """Created at this time or later."""

    def __post_init__(self) -> None:
        if self.user_id is not None:
            check_user_id("Query.user_id", self.user_id)
        check_text("Query.prefix", self.prefix)
        for name in ("used_before", "used_since", "created_since"):
            if getattr(self, name) is not None:
                check_integer(f"Query.{name}", getattr(self, name))

    def matches(self, found: Summary | Record) -> bool:
        """Return whether a session is selected."""
        return (
            self.user_id in (None, found.user_id)
            and found.key.startswith(self.prefix)
            and (self.used_before is None or found.last_used < self.used_before)
            and (self.used_since is None or found.last_used >= self.used_since)
            and (self.created_since is None or found.created >= self.created_since)
        )


ALL: Final = Query()


class Totals(msgspec.Struct):
    """Statistics of sessions. Sizes are bytes; times are milliseconds, None without sessions."""

    sessions: int = 0
    users: int = 0
    guests: int = 0
    bytes_total: int = 0
    bytes_largest: int = 0
    oldest: int | None = None
    newest: int | None = None
    longest_idle: int | None = None
    last_used: int | None = None


def sort_key(order: Order) -> Callable[[Summary], Any]:
    """Return the key by which sessions ascend in this order; equal ones are sorted by handle."""
    if order == "handle":
        return lambda found: found.key
    if order == "user":
        return lambda found: (found.user_id is None, found.user_id or "", found.key)
    field = _FIELDS[order]
    return lambda found: (-getattr(found, field), found.key)


@runtime_checkable
class Pageable(Protocol):
    """A store that lists a selection of its sessions in pages."""

    def pages(self, query: Query) -> AsyncIterator[Sequence[Summary]]:
        """Yield the selected live sessions like `Listable.scan`, some hundreds at a time."""
        ...


@runtime_checkable
class Queryable(Protocol):
    """A store with a backend that sorts, counts and adds up its sessions."""

    async def top(self, query: Query, order: Order, limit: int) -> Sequence[Summary]:
        """Return the first `limit` selected sessions in this order."""
        ...

    async def count(self, query: Query) -> int:
        """Return the number of selected sessions."""
        ...

    async def totals(self, query: Query) -> Totals:
        """Return statistics of the selected sessions."""
        ...


@runtime_checkable
class Estimable(Protocol):
    """A store that knows about how many records it has, for the total of a progress bar."""

    async def estimate(self) -> int:
        """Return the number without reading the records; expired ones and tombstones may be included."""
        ...


@runtime_checkable
class BulkDeletable(Protocol):
    """A store that removes many records in one step."""

    async def delete_many(self, seen: Sequence[Summary]) -> tuple[int, Collection[str]]:
        """Remove each record with the same version and last use as in `seen`.

        Return the number of removed records, and the keys of those that remain, changed.
        """
        ...


@runtime_checkable
class BulkLoadable(Protocol):
    """A store that loads many records in one round trip."""

    async def load_many(self, keys: Sequence[str]) -> Mapping[str, Record | UnreadableRecord]:
        """Return the live records under these keys, without missing ones; an error for an unreadable one."""
        ...


@runtime_checkable
class BulkWritable(Protocol):
    """A store that writes many records in one round trip, each independently of the others."""

    async def create_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """Create records; see `Store.create`."""
        ...

    async def save_many(self, records: Sequence[Record]) -> Sequence[Version | None]:
        """Save each record over the version that it carries; see `Store.save`."""
        ...


@runtime_checkable
class BatchPurgeable(Protocol):
    """A purgeable store that reports after each batch of a purge."""

    def purge_batches(self, now: int, limit: int | None = None) -> AsyncIterator[int]:
        """Remove the records that are expired at `now`, without pauses; yield the number of each batch.

        A batch has at most `limit` records, by default as many as suit the backend.
        """
        ...


@runtime_checkable
class Pooled(Protocol):
    """A store with a pool of connections."""

    def connections_in_use(self) -> int:
        """Return the number of connections that run an operation now."""
        ...


ABILITIES: Final = (
    *("scan", "check_index", "purge", "count_expired", "sweep_lock"),
    *("pages", "top", "count", "totals", "estimate", "overviews", "delete_many", "purge_batches"),
    "connections_in_use",
)
"""Attributes of the optional protocols that need no key, so that wrappers pass them on."""


def pass_on_abilities(store: object, wrapper: object) -> None:
    """Give a wrapper the optional abilities of the store it wraps."""
    for name in ABILITIES:
        if hasattr(store, name):
            setattr(wrapper, name, getattr(store, name))
