"""A store that fails on demand."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..errors import StoreUnavailable
from ..record import Record, RecordOrSummary, Version
from ..stores.base import Store, check_store
from ..stores.queries import pass_on_abilities

T = TypeVar("T")

OPERATIONS: Final = ("create", "load", "save", "touch", "delete", "ping")
"""Operations of a store that can fail."""


class FaultyStore:
    """A store that fails on demand, in front of another one.

    store = FaultyStore(open_store("memory://"))
    store.fail("save")     # every save raises StoreUnavailable and changes nothing
    store.recover()
    """

    def __init__(self, store: Store) -> None:
        check_store("FaultyStore", store)
        self.name: str = store.name
        self._store = store
        self._faults: dict[str, _Fault] = {}
        pass_on_abilities(store, self)

    def fail(
        self,
        *operations: str,
        times: int | None = None,
        after: bool = False,
        error: type[StoreUnavailable] = StoreUnavailable,
    ) -> None:
        """Let operations fail, by default all of `OPERATIONS`, until `recover` or for a number of calls.

        With `after` the operation is performed first, as if only the response of the store was lost. Raises
        ValueError for an unknown operation.
        """
        if unknown := [name for name in operations if name not in OPERATIONS]:
            raise ValueError(
                f"FaultyStore.fail: expected one of {', '.join(OPERATIONS)}, got {', '.join(unknown)}."
            )
        for name in operations or OPERATIONS:
            self._faults[name] = _Fault(times, after, error)

    def recover(self) -> None:
        """Let every operation succeed again."""
        self._faults.clear()

    async def create(self, record: Record) -> Version | None:
        """See `Store.create`."""
        return await self._call("create", lambda: self._store.create(record))

    async def load(self, key: str) -> Record | None:
        """See `Store.load`."""
        return await self._call("load", lambda: self._store.load(key))

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """See `Store.save`."""
        return await self._call("save", lambda: self._store.save(record, expected=expected))

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """See `Store.touch`."""
        return await self._call(
            "touch",
            lambda: self._store.touch(key, expected=expected, last_used=last_used, expires=expires),
        )

    async def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> bool:
        """See `Store.delete`."""
        return await self._call("delete", lambda: self._store.delete(key, expected=expected))

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._call("ping", self._store.ping)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    async def _call(self, name: str, operation: Callable[[], Awaitable[T]]) -> T:
        fault = self._faults.get(name)
        if fault is None or not fault.is_due():
            return await operation()
        if fault.after:
            await operation()
        raise fault.error(f"FaultyStore: {name} fails on demand.")


class _Fault:
    def __init__(self, times: int | None, after: bool, error: type[StoreUnavailable]) -> None:
        self.after, self.error = after, error
        self._left = times

    def is_due(self) -> bool:
        """Whether this call fails; counts it."""
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0
