"""What an application may be told of: a session began, ended, or got a new id."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import codec
from .errors import UnreadableRecord
from .record import Record

logger = logging.getLogger("cartapp.session")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions, plain or async, called in the process that acts, after the commit.

    Expiry by a server fires none. A hook that fails is logged and harms nothing.
    """

    on_started: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Gets the handle and the data of a new session."""
    on_deleted: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Gets the handle of a session that was ended, by whatever, and its last data."""
    on_regenerated: Callable[[str, str], Awaitable[None] | None] | None = None
    """Gets the old and the new handle."""

    async def started(self, record: Record) -> None:
        """Call `on_started`."""
        if self.on_started is not None:
            await _call(self.on_started, record.key, _data_of(record))

    async def deleted(self, record: Record) -> None:
        """Call `on_deleted`."""
        if self.on_deleted is not None:
            await _call(self.on_deleted, record.key, _data_of(record))

    async def regenerated(self, old: str, new: str) -> None:
        """Call `on_regenerated`."""
        if self.on_regenerated is not None:
            await _call(self.on_regenerated, old, new)


def _data_of(record: Record) -> dict[str, Any]:
    try:
        return codec.decode_all(record.data)
    except UnreadableRecord:  # nobody can say any more what was in it
        return {}


async def call_all(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Call each, also when the running task is cancelled during one of them."""
    cancelled: asyncio.CancelledError | None = None
    for call in calls:
        try:
            await call()
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _call(hook: Callable[..., Awaitable[None] | None], *args: object) -> None:
    task = asyncio.current_task()
    requests = task.cancelling() if task else 0
    try:
        answer = hook(*args)
        if inspect.isawaitable(answer):
            await answer
    except asyncio.CancelledError:
        if task and task.cancelling() > requests:
            raise  # the running task is cancelled, and not one that the hook awaits
        logger.exception("A session hook awaited a task that was cancelled: %r", hook)
    except Exception:  # the commit stands whatever a hook does
        logger.exception("A session hook failed: %r", hook)
