"""A real round trip through a session store, with the time that each step took."""

from collections.abc import Awaitable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from .errors import StoreUnavailable
from .guard import GuardedStore
from .record import Record, key_of, new_id, now
from .stores.base import Store

T = TypeVar("T")

_LIFETIME = 60_000  # milliseconds after which the probe's record goes by itself, should nobody remove it


@dataclass(frozen=True, slots=True)
class Step:
    """One operation and its milliseconds."""

    name: str
    milliseconds: float


async def ping(store: Store, *, timeout: float) -> float:
    """The milliseconds of one ping. Raises `StoreUnavailable` after `timeout` seconds."""
    began = perf_counter()
    await GuardedStore(store, timeout).ping()
    return (perf_counter() - began) * 1000


async def round_trip(store: Store, *, timeout: float) -> list[Step]:
    """Ping, then create, load, save, touch and delete a record of its own.

    `timeout` is in seconds, for each step. Raises `StoreUnavailable` when a step fails, takes too long, or
    does not do what it says.
    """
    guarded = GuardedStore(store, timeout)
    steps: list[Step] = []

    async def timed(name: str, operation: Awaitable[T]) -> T:
        began = perf_counter()
        answer = await operation
        steps.append(Step(name, (perf_counter() - began) * 1000))
        return answer

    await timed("ping", guarded.ping())
    at = now()
    probe = Record(key_of(new_id()), at, at, at + _LIFETIME, b'{"probe":1}')
    if await timed("create", guarded.create(probe)) is None:
        raise _broken("create")
    try:
        loaded = await timed("load", guarded.load(probe.key))
        if loaded is None or loaded.data != probe.data:
            raise _broken("load")
        version = await timed("save", guarded.save(probe, expected=loaded.version))
        if version is None:
            raise _broken("save")
        touch = guarded.touch(probe.key, expected=version, last_used=at, expires=probe.expires)
        if not await timed("touch", touch):
            raise _broken("touch")
    finally:
        deleted = await timed("delete", guarded.delete(probe.key))
    if not deleted:
        raise _broken("delete")
    return steps


def _broken(step: str) -> StoreUnavailable:
    return StoreUnavailable(f"The store answers, but its {step} does not do what it says.")
