"""Poll for events without a notification, such as those in another process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record

T = TypeVar("T")

STORE_TIMEOUT = 20.0
"""Timeout of a store in seconds; generous, because a machine with many concurrent tests is slow."""

DEADLINE = 60.0
"""Upper bound in seconds for any event, including a server's start or stop; most take about one second."""

_INTERVAL = 0.01  # seconds


class ReadableStore(Protocol):
    """A store with or without a circuit breaker."""

    async def load(self, key: str) -> Record | None: ...

    async def ping(self) -> None: ...


def wait_for(condition: Callable[[], object]) -> None:
    """Block until the condition holds. Raise TimeoutError after the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("The condition did not become true in time.")
        time.sleep(_INTERVAL)


async def poll_until(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until the condition, a coroutine function, holds. Raise TimeoutError after the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(_INTERVAL)


async def retry_while_unavailable(operation: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a store operation, repeated while it raises StoreUnavailable."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await operation()
            except StoreUnavailable:
                await asyncio.sleep(_INTERVAL)


async def wait_until_available(store: ReadableStore) -> None:
    """Wait until the store is available."""
    await retry_while_unavailable(store.ping)


async def get_record_version(store: ReadableStore, key: str) -> int:
    """Return the version of a record; 0 while the store is unavailable."""
    try:
        record = await store.load(key)
    except StoreUnavailable:
        return 0
    assert record is not None
    return int(record.version)


async def wait_until_saved(store: ReadableStore, key: str, times: int) -> None:
    """Wait until other processes have saved a record `times` times."""

    async def is_saved() -> bool:
        return await get_record_version(store, key) >= times

    await poll_until(is_saved)
