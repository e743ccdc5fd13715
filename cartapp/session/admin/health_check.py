"""Check a session store by a real round trip, and time each step."""

from collections.abc import Awaitable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from msgspec.structs import replace

from ..durations import to_seconds
from ..errors import StoreTimeout, StoreUnavailable
from ..record import Record, key_from_id, new_id, now
from ..stores.base import Indexed, Store
from ..stores.timeouts import SharedTimeout

T = TypeVar("T")

_USER = "cartapp health check"  # the same each time, so that its index stays small
_LIFETIME = 60_000  # milliseconds until the probe's record expires if the delete fails


@dataclass(frozen=True, slots=True)
class StepTiming:
    """An operation and its duration in milliseconds."""

    name: str
    milliseconds: float


async def ping(store: Store, *, timeout: float) -> float:
    """Return the duration of a ping in milliseconds. Raises `StoreUnavailable` after `timeout` seconds."""
    limit = SharedTimeout(to_seconds("ping: timeout", timeout))
    start = perf_counter()
    await _limit(store, store.ping(), limit)
    return (perf_counter() - start) * 1000


async def round_trip(store: Store, *, timeout: float) -> list[StepTiming]:
    """Ping; then create, load, save, touch and delete a record with a user, and check the user's index.

    `timeout` is in seconds, for each step. Raises `StoreUnavailable` if a step fails, times out, or does not
    have its effect.
    """
    limit = SharedTimeout(to_seconds("round_trip: timeout", timeout))
    steps: list[StepTiming] = []

    async def timed(name: str, operation: Awaitable[T]) -> T:
        start = perf_counter()
        result = await _limit(store, operation, limit)
        steps.append(StepTiming(name, (perf_counter() - start) * 1000))
        return result

    await timed("ping", store.ping())
    at = now()
    probe = Record(key_from_id(new_id()), at, at, at + _LIFETIME, b'{"probe":1}', _USER)
    if await timed("create", store.create(probe)) is None:
        raise _no_effect("create")
    current = None
    try:
        loaded = await timed("load", store.load(probe.key))
        if loaded is None or loaded.data != probe.data:
            raise _no_effect("load")
        version = await timed("save", store.save(probe, expected=loaded.version))
        if version is None:
            raise _no_effect("save")
        touch = store.touch(probe.key, expected=version, last_used=at, expires=probe.expires)
        if not await timed("touch", touch):
            raise _no_effect("touch")
        current = replace(probe, version=version)
    finally:
        deleted = await timed("delete", store.delete(probe.key, expected=current))
    if not deleted:
        raise _no_effect("delete")
    if isinstance(store, Indexed):
        await timed("index", store.check_index(_USER))
    return steps


async def _limit(store: Store, operation: Awaitable[T], limit: SharedTimeout) -> T:
    """Bound an operation by another timeout than the store's own."""
    try:
        return await limit.wait_for(operation)
    except TimeoutError as error:
        raise StoreTimeout(
            f"The {store.name} store did not respond within {limit.seconds:g} seconds."
        ) from error


def _no_effect(step: str) -> StoreUnavailable:
    return StoreUnavailable(f"The store responds, but {step} has no effect.")
