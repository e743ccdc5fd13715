"""A store that tells of each of its operations: for metrics, and for developers who want to see them.

Put round a store only where somebody listens, so that nobody else pays for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from ..errors import StoreUnavailable, UnreadableRecord
from ..record import Record, Seen, Version
from .base import Countable, HostLocal, Listable, Purgeable, Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Observation:
    """One operation on a store."""

    operation: str
    """The method: `create`, `load`, `save`, `touch`, `delete` or `purge`."""
    key: str
    """The session's key; empty for `purge`."""
    outcome: str
    """What came of it, such as `saved` or `conflict`; `unavailable`, `unreadable`, `abandoned` (nobody waited
    any longer: mostly a time-out) or `failed` when it raised."""
    seconds: float
    removed: int = 0
    """How many records a `purge` removed."""


Observe = Callable[[Observation], None]


class ObservedStore:
    """A store that calls `observe` after each operation, whatever came of it."""

    def __init__(self, store: Store, observe: Observe) -> None:
        self.name = store.name
        self._store, self._observe = store, observe
        self.ping, self.close = store.ping, store.close
        if isinstance(store, Listable):
            self.scan = store.scan
        if isinstance(store, Countable):
            self.count_expired = store.count_expired
        if isinstance(store, HostLocal):
            self.sweep_lock = store.sweep_lock
        if isinstance(store, Purgeable):
            self._purge = store.purge
            self.purge = self._observed_purge

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        created = self._store.create(record)
        return await self._observed(
            "create", record.key, created, lambda version: _is(version, "created", "taken")
        )

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        return await self._observed("load", key, self._store.load(key), _found)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`."""
        done = "retired" if record.is_tombstone else "saved"
        saved = self._store.save(record, expected=expected)
        return await self._observed("save", record.key, saved, lambda version: _is(version, done, "conflict"))

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`."""
        touched = self._store.touch(key, expected=expected, last_used=last_used, expires=expires)
        return await self._observed("touch", key, touched, lambda done: "touched" if done else "conflict")

    async def delete(self, key: str, *, expected: Seen | None = None) -> bool:
        """See `Store.delete`."""
        deleted = self._store.delete(key, expected=expected)
        otherwise = "conflict" if expected else "absent"
        return await self._observed("delete", key, deleted, lambda done: "deleted" if done else otherwise)

    async def _observed_purge(self, now: int) -> int:
        return await self._observed("purge", "", self._purge(now), lambda _removed: "purged", int)

    async def _observed(
        self,
        operation: str,
        key: str,
        answer: Awaitable[T],
        outcome_of: Callable[[T], str],
        removed_by: Callable[[T], int] = lambda _answer: 0,
    ) -> T:
        began, outcome, removed = perf_counter(), "failed", 0
        try:
            result = await answer
            outcome, removed = outcome_of(result), removed_by(result)
            return result
        except StoreUnavailable:
            outcome = "unavailable"
            raise
        except UnreadableRecord:
            outcome = "unreadable"
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            self._observe(Observation(operation, key, outcome, perf_counter() - began, removed))


def _is(version: Version | None, done: str, otherwise: str) -> str:
    return otherwise if version is None else done


def _found(record: Record | None) -> str:
    if record is None:
        return "absent"
    return "retired" if record.is_tombstone else "found"
