"""Report each operation on a store, for metrics and for developers.

Wrap a store only where something receives the reports: other applications then pay nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from ...errors import StoreTimeout, StoreUnavailable, UnreadableRecord
from ...record import Record, RecordOrSummary, Version
from ..base import Purgeable, Store, check_store
from ..queries import pass_on_abilities

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoreCall:
    """One finished operation on a store."""

    operation: str
    """The method: `create`, `load`, `save`, `touch`, `delete` or `purge`."""
    key: str
    """The session's key; empty for `purge`."""
    outcome: str
    """The result, such as `saved` or `conflict`; when the operation raised: `timeout`, `unavailable`,
    `unreadable`, `cancelled` or `failed`."""
    seconds: float
    removed: int = 0
    """The number of records that a `purge` removed."""


OnCall = Callable[[StoreCall], None]


class InstrumentedStore:
    """A store that calls `on_call` after each operation, failed ones included."""

    def __init__(self, store: Store, on_call: OnCall) -> None:
        check_store("InstrumentedStore", store)
        if not callable(on_call):
            raise TypeError(f"InstrumentedStore: on_call: expected a function (call), got {on_call!r}.")
        self.name: str = store.name
        self._store, self._on_call = store, on_call
        pass_on_abilities(store, self)
        if isinstance(store, Purgeable):
            self._purge = store.purge
            setattr(self, "purge", self._report_purge)  # noqa: B010 - only a purgeable store has it

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._store.ping()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        call = self._store.create(record)
        return await self._report(
            "create", record.key, call, lambda version: _either(version, "created", "taken")
        )

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        return await self._report("load", key, self._store.load(key), _load_outcome)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`."""
        done = "tombstone" if record.is_tombstone else "saved"
        call = self._store.save(record, expected=expected)
        return await self._report(
            "save", record.key, call, lambda version: _either(version, done, "conflict")
        )

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`."""
        call = self._store.touch(key, expected=expected, last_used=last_used, expires=expires)
        return await self._report("touch", key, call, lambda done: "touched" if done else "conflict")

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`."""
        call = self._store.delete(key, expected=expected)
        otherwise = "conflict" if expected else "absent"
        return await self._report("delete", key, call, lambda done: "deleted" if done else otherwise)

    async def _report_purge(self, now: int) -> int:
        return await self._report("purge", "", self._purge(now), lambda _removed: "purged", int)

    async def _report(
        self,
        operation: str,
        key: str,
        call: Awaitable[T],
        get_outcome: Callable[[T], str],
        count_removed: Callable[[T], int] = lambda _result: 0,
    ) -> T:
        started, outcome, removed = perf_counter(), "failed", 0
        try:
            result = await call
            outcome, removed = get_outcome(result), count_removed(result)
            return result
        except StoreTimeout:
            outcome = "timeout"
            raise
        except StoreUnavailable:
            outcome = "unavailable"
            raise
        except UnreadableRecord:
            outcome = "unreadable"
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._on_call(StoreCall(operation, key, outcome, perf_counter() - started, removed))


def _either(version: Version | None, done: str, otherwise: str) -> str:
    return otherwise if version is None else done


def _load_outcome(record: Record | None) -> str:
    if record is None:
        return "absent"
    return "tombstone" if record.is_tombstone else "found"
