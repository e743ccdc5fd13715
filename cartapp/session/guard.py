"""A store behind a time-out and a breaker, so that a hanging backend costs one wait and not one a request.

After a time-out every further call fails at once, until a single probe (a `ping`) gets an answer. A backend
that refuses at once needs no breaker: its refusals are as fast.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from .errors import StoreUnavailable
from .record import Record, Seen, Version
from .stores.base import Store
from .stores.timeouts import SharedTimeout

T = TypeVar("T")
P = ParamSpec("P")
Answer = Coroutine[Any, Any, T]

_PROBE_EVERY = 0.5  # seconds between two probes of a backend that hangs


class GuardedStore:
    """The operations of a store, each bounded by `timeout` seconds.

    `on_change` is told when the breaker opens (True) and when it closes (False). What only passes an
    operation on is no coroutine function: each of those is gone through again whenever it is resumed.
    """

    def __init__(
        self, store: Store, timeout: float, *, on_change: Callable[[bool], None] | None = None
    ) -> None:
        self.store = store
        self.name = store.name
        self._calls = SharedTimeout(timeout)
        self._on_change = on_change
        self._open_until: float | None = None  # event loop time of the next probe; None: calls go through
        self._probing = False

    def create(self, record: Record) -> Answer[Version | None]:
        """As the store's own."""
        return self._call(self.store.create, record)

    def load(self, key: str) -> Answer[Record | None]:
        """As the store's own."""
        return self._call(self.store.load, key)

    def save(self, record: Record, *, expected: Version) -> Answer[Version | None]:
        """As the store's own."""
        return self._call(self.store.save, record, expected=expected)

    def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> Answer[bool]:
        """As the store's own."""
        return self._call(self.store.touch, key, expected=expected, last_used=last_used, expires=expires)

    def delete(self, key: str, *, expected: Seen | None = None) -> Answer[bool]:
        """As the store's own."""
        return self._call(self.store.delete, key, expected=expected)

    def ping(self) -> Answer[None]:
        """As the store's own."""
        return self._call(self.store.ping)

    def close(self) -> Answer[None]:
        """As the store's own."""
        return self.store.close()

    def _call(self, operation: Callable[P, Answer[T]], *args: P.args, **named: P.kwargs) -> Answer[T]:
        if self._open_until is None:
            return self._bounded(operation(*args, **named))
        return self._after_probe(operation, *args, **named)

    async def _after_probe(self, operation: Callable[P, Answer[T]], *args: P.args, **named: P.kwargs) -> T:
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

    async def _bounded(self, answer: Answer[T]) -> T:
        try:
            return await self._calls.wait_for(answer)
        except TimeoutError as error:
            self._set(asyncio.get_running_loop().time() + _PROBE_EVERY)
            raise StoreUnavailable(
                f"The {self.name} store did not answer within {self._calls.seconds:g} seconds."
            ) from error

    def _set(self, open_until: float | None) -> None:
        changes = (open_until is None) != (self._open_until is None)
        self._open_until = open_until
        if changes and self._on_change is not None:
            self._on_change(open_until is not None)
