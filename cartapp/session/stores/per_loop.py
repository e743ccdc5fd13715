"""Connections and timers for each event loop that uses a store.

They belong to the event loop that opened them. An application has one, but `TestClient` uses one for each
`with` block, in a thread of its own, and without `with` one for each request.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop, created on first use and closed by `close`, or else when the loop ends.

    With `early` the value of the first event loop is created at once, which raises the errors of `create`.
    """

    def __init__(
        self,
        create: Callable[[], T],
        close: Callable[[T], Awaitable[None]] | None = None,
        *,
        early: bool = False,
    ) -> None:
        self._create, self._close = create, close
        self._ready = [create()] if early else []
        self._values: dict[asyncio.AbstractEventLoop, T] = {}
        self._closers: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def get(self) -> T:
        """Return the value of the running event loop."""
        loop = asyncio.get_running_loop()
        try:
            return self._values[loop]
        except KeyError:
            return self._add(loop)

    def values(self) -> list[T]:
        """Return the values of all event loops."""
        return list(self._values.values())

    async def close(self) -> None:
        """Close the value of the running event loop, if it has one; the next use creates another."""
        closer = self._closers.get(asyncio.get_running_loop())
        if closer is not None:
            await closer.aclose()

    def _add(self, loop: asyncio.AbstractEventLoop) -> T:
        for other in list(self._values):
            if other.is_closed():  # without `shutdown_asyncgens`; nothing can close its value now
                self._forget(other)
        try:
            value = self._ready.pop()
        except IndexError:
            value = self._create()
        self._values[loop] = value
        if self._close is not None:
            closer = self._closers[loop] = self._close_at_end(loop, value, self._close)
            with suppress(StopIteration):
                closer.__anext__().send(None)  # to its `yield`, which does not wait
        return value

    async def _close_at_end(
        self, loop: asyncio.AbstractEventLoop, value: T, close: Callable[[T], Awaitable[None]]
    ) -> AsyncGenerator[None, None]:
        """Close the value when this generator ends: by `aclose`, or by `loop.shutdown_asyncgens`.

        `asyncio.run` calls the latter, and so do anyio and uvicorn, before they close the event loop.
        """
        try:
            yield
        finally:
            self._forget(loop)
            await close(value)

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        self._values.pop(loop, None)
        self._closers.pop(loop, None)
