"""A store behind a time-out and a breaker, so that a hanging backend costs one wait and not one a request.

After a time-out every further call fails at once, until a single probe (a `ping`) gets an answer. A backend
that refuses at once needs no breaker: its refusals are as fast.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from .errors import StoreUnavailable
from .patience import Patience
from .record import Record, Version
from .stores.base import Store

T = TypeVar("T")
P = ParamSpec("P")

_PROBE_EVERY = 0.5  # seconds between two probes of a backend that hangs


class GuardedStore:
    """The operations of a store, each bounded by `timeout` seconds.

    `on_change` is told when the breaker opens (True) and when it closes (False).
    """

    def __init__(
        self, store: Store, timeout: float, *, on_change: Callable[[bool], None] | None = None
    ) -> None:
        self.store = store
        self.name = store.name
        self._timeout = timeout
        self._patience = Patience(timeout)
        self._on_change = on_change
        self._open_until: float | None = None  # event loop time of the next probe; None: calls go through
        self._probing = False

    async def create(self, record: Record) -> Version | None:
        """As the store's own."""
        return await self._call(self.store.create, record)

    async def load(self, key: str) -> Record | None:
        """As the store's own."""
        return await self._call(self.store.load, key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        """As the store's own."""
        return await self._call(self.store.save, record, expected=expected)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        """As the store's own."""
        return await self._call(
            self.store.touch, key, expected=expected, last_used=last_used, expires=expires
        )

    async def delete(self, key: str, *, expected: Record | None = None) -> bool:
        """As the store's own."""
        return await self._call(self.store.delete, key, expected=expected)

    async def ping(self) -> None:
        """As the store's own."""
        await self._call(self.store.ping)

    async def close(self) -> None:
        """As the store's own."""
        await self.store.close()

    async def _call(
        self, operation: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **named: P.kwargs
    ) -> T:
        if self._open_until is not None:
            await self._probe()
        return await self._bounded(operation(*args, **named))

    async def _probe(self) -> None:
        if self._probing or asyncio.get_running_loop().time() < (self._open_until or 0.0):
            raise StoreUnavailable(f"The {self.name} store did not answer lately; it is being probed.")
        self._probing = True
        try:
            await self._bounded(self.store.ping())
            self._set(None)
        finally:
            self._probing = False

    async def _bounded(self, answer: Coroutine[Any, Any, T]) -> T:
        try:
            return await self._patience.wait_for(answer)
        except TimeoutError as error:
            self._set(asyncio.get_running_loop().time() + _PROBE_EVERY)
            raise StoreUnavailable(
                f"The {self.name} store did not answer within {self._timeout:g} seconds."
            ) from error

    def _set(self, open_until: float | None) -> None:
        changes = (open_until is None) != (self._open_until is None)
        self._open_until = open_until
        if changes and self._on_change is not None:
            self._on_change(open_until is not None)
