"""Waiting for what nobody tells of, such as the doings of another process: by looking again and again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds that a store waits for its server, as a machine with many tests at once is slow."""

DEADLINE = 60.0
"""Seconds for anything to happen, a start or a stop included; mostly it is a matter of one."""

_POLL = 0.01  # seconds between two looks


class Answering(Protocol):
    """A store, with a guard round it or without."""

    async def load(self, key: str) -> Record | None: ...

    async def ping(self) -> None: ...


def wait_for(condition: Callable[[], object]) -> None:
    """Look until the condition holds. Raises TimeoutError when it never does."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("It did not happen in time.")
        time.sleep(_POLL)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """The same for a condition that is asked for, and while others go on."""
    async with asyncio.timeout(DEADLINE):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(_POLL)


async def answer_to(question: Callable[[], Awaitable[T]]) -> T:
    """What the store answers, as soon as it does so again."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                return await question()
            except StoreUnavailable:
                await asyncio.sleep(_POLL)


async def until_there(store: Answering) -> None:
    """Wait until the store answers again."""
    await answer_to(store.ping)


async def version_of(store: Answering, key: str) -> int:
    """How often a record was saved, the first time included; 0 while the store is out of reach."""
    try:
        record = await store.load(key)
    except StoreUnavailable:
        return 0
    assert record is not None
    return int(record.version)


async def until_saved(store: Answering, key: str, times: int) -> None:
    """Wait until other processes have saved a record so often."""

    async def is_saved() -> bool:
        return await version_of(store, key) >= times

    await until(is_saved)
