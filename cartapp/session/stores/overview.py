"""Overviews of many sessions, built page by page and merged: the first N in an order, and totals.

For backends that do not sort or add up. A `Partitioned` store builds them itself, part by part.
"""

import heapq
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import Protocol, runtime_checkable

import msgspec

from ..record import Summary
from .queries import Order, Query, Totals, sort_key


class Extent(msgspec.Struct, frozen=True):
    """What an overview contains besides the number of sessions."""

    order: Order = "handle"
    limit: int = 0
    """Keep the first sessions in this order."""
    totals: bool = False
    created_since: int | None = None
    """Count the sessions created at this time or later, in milliseconds since 1970 UTC."""


class Overview(msgspec.Struct):
    """An overview of some sessions. `add` and `merge` extend it."""

    extent: Extent
    sessions: int = 0
    first: list[Summary] = msgspec.field(default_factory=list)
    totals: Totals = msgspec.field(default_factory=Totals)
    """Without `users`; see `finish`."""
    users: set[int] = msgspec.field(default_factory=set)
    """Hashes, for bounded memory, and the same in each process."""
    created: int = 0

    def add(self, page: Sequence[Summary]) -> None:
        """Include sessions."""
        if not page:
            return
        self.sessions += len(page)
        self._keep(page)
        if self.extent.totals:
            users = [_hash(found.user_id) for found in page if found.user_id is not None]
            self.users.update(users)
            self._add_totals(_totals(page, len(page) - len(users)))
        since = self.extent.created_since
        if since is not None:
            self.created += sum(found.created >= since for found in page)

    def merge(self, other: "Overview") -> None:
        """Include the sessions of another overview with the same extent."""
        self.sessions += other.sessions
        self.created += other.created
        self.users |= other.users
        self._keep(other.first)
        if other.totals.sessions:
            self._add_totals(other.totals)

    def finish(self) -> Totals:
        """Return the totals with the number of users."""
        self.totals.users = len(self.users)
        return self.totals

    def _keep(self, page: Sequence[Summary]) -> None:
        if self.extent.limit:
            key = sort_key(self.extent.order)
            self.first = heapq.nsmallest(self.extent.limit, (*self.first, *page), key)

    def _add_totals(self, other: Totals) -> None:
        mine, is_first = self.totals, not self.totals.sessions
        mine.sessions += other.sessions
        mine.guests += other.guests
        mine.bytes_total += other.bytes_total
        mine.bytes_largest = max(mine.bytes_largest, other.bytes_largest)
        mine.newest = max(mine.newest or 0, other.newest or 0)
        mine.last_used = max(mine.last_used or 0, other.last_used or 0)
        if is_first:
            mine.oldest, mine.longest_idle = other.oldest, other.longest_idle
        else:
            mine.oldest = min(mine.oldest or 0, other.oldest or 0)
            mine.longest_idle = min(mine.longest_idle or 0, other.longest_idle or 0)


def _hash(user_id: str) -> int:
    return int.from_bytes(blake2b(user_id.encode(), digest_size=8).digest())


def _totals(page: Sequence[Summary], guests: int) -> Totals:
    sizes = [found.size for found in page]
    created = [found.created for found in page]
    used = [found.last_used for found in page]
    times = (min(created), max(created), min(used), max(used))
    return Totals(len(page), 0, guests, sum(sizes), max(sizes), *times)


@runtime_checkable
class Partitioned(Protocol):
    """A store that reads its parts concurrently, faster than its pages."""

    def overviews(self, query: Query, extent: Extent) -> AsyncIterator[Overview]:
        """Yield an overview of each part of the selected sessions."""
        ...
