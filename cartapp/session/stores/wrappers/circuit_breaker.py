"""Circuit breaker: a hanging backend costs one timeout, not one for each request.

After a `StoreTimeout` every call fails at once until a single probe (a `ping`) succeeds. A backend that
refuses connections needs no breaker: refusals are as fast.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeVar

from ...errors import StoreTimeout, StoreUnavailable
from ...record import Record, RecordOrSummary, Version
from ..base import Store, check_store

P = ParamSpec("P")
T = TypeVar("T")

_PAUSE: Final = 0.05
"""Seconds from a timeout to the next probe.

The calls that had waited for the timed-out one, for example on a session's lock, fail in this pause. A probe
takes the store's timeout, so that the backend gets no more than one of them in that time.
"""


class CircuitBreakerStore:
    """Fail calls to a store at once while its backend hangs.

    `on_change` is called with True when the breaker opens and with False when it closes.
    """

    def __init__(self, store: Store, *, on_change: Callable[[bool], None] | None = None) -> None:
        check_store("CircuitBreakerStore", store)
        self.store = store
        self.name: str = store.name
        self._on_change = on_change
        self._open_until: float | None = None  # event loop time of the next probe; None while closed
        self._probing = False

    # No coroutine functions: each call costs one coroutine, that of `_call`.

    def create(self, record: Record) -> Coroutine[Any, Any, Version | None]:
        """See `Store.create`."""
        return self._call(self.store.create, record)

    def load(self, key: str) -> Coroutine[Any, Any, Record | None]:
        """See `Store.load`."""
        return self._call(self.store.load, key)

    def save(self, record: Record, *, expected: Version) -> Coroutine[Any, Any, Version | None]:
        """See `Store.save`."""
        return self._call(self.store.save, record, expected=expected)

    def touch(
        self, key: str, *, expected: Version, last_used: int, expires: int
    ) -> Coroutine[Any, Any, bool]:
        """See `Store.touch`."""
        return self._call(self.store.touch, key, expected=expected, last_used=last_used, expires=expires)

    def delete(self, key: str, *, expected: RecordOrSummary | None = None) -> Coroutine[Any, Any, bool]:
        """See `Store.delete`."""
        return self._call(self.store.delete, key, expected=expected)

    def ping(self) -> Coroutine[Any, Any, None]:
        """See `Store.ping`."""
        return self._call(self.store.ping)

    async def close(self) -> None:
        """See `Store.close`."""
        await self.store.close()

    async def _call(
        self, operation: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._open_until is not None:
            await self._probe(self._open_until)
        try:
            return await operation(*args, **kwargs)
        except StoreTimeout:
            self._set(asyncio.get_running_loop().time() + _PAUSE)
            raise

    async def _probe(self, open_until: float) -> None:
        if self._probing or asyncio.get_running_loop().time() < open_until:
            raise StoreUnavailable(f"The {self.name} store did not respond in time; waiting for a probe.")
        self._probing = True
        try:
            await self.store.ping()
            self._set(None)
        except StoreTimeout:
            self._set(asyncio.get_running_loop().time() + _PAUSE)
            raise
        finally:
            self._probing = False

    def _set(self, open_until: float | None) -> None:
        changed = (open_until is None) != (self._open_until is None)
        self._open_until = open_until
        if changed and self._on_change is not None:
            self._on_change(open_until is not None)
