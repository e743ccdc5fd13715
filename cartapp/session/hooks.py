"""Callbacks of an application: session started, deleted, regenerated."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import codec
from .errors import UnreadableRecord
from .record import Record

logger: logging.Logger = logging.getLogger("cartapp.session")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions, sync or async, called after the commit in the process that made it.

    Expiry in a server calls none. An exception in a hook is logged and has no effect.
    """

    on_started: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Called with the handle and the data of a new session."""
    on_deleted: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Called with the handle and the last data of an ended session."""
    on_regenerated: Callable[[str, str], Awaitable[None] | None] | None = None
    """Called with the old and the new handle after a rotation."""

    def __post_init__(self) -> None:
        for name in ("on_started", "on_deleted", "on_regenerated"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise TypeError(f"Hooks.{name}: expected a function, got {hook!r}.")

    async def started(self, record: Record) -> None:
        """Call `on_started`."""
        if self.on_started is not None:
            await _call(self.on_started, record.key, _decode_data(record))

    async def deleted(self, record: Record) -> None:
        """Call `on_deleted`."""
        if self.on_deleted is not None:
            await _call(self.on_deleted, record.key, _decode_data(record))

    async def regenerated(self, old: str, new: str) -> None:
        """Call `on_regenerated`."""
        if self.on_regenerated is not None:
            await _call(self.on_regenerated, old, new)


def _decode_data(record: Record) -> dict[str, Any]:
    try:
        return codec.decode_all(record.data)
    except UnreadableRecord:
        return {}


async def call_all(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Call all, even if the running task is cancelled during one of them."""
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
        result = hook(*args)
        if inspect.isawaitable(result):
            await result
    except asyncio.CancelledError:
        if task and task.cancelling() > requests:
            raise  # the running task was cancelled, not one that the hook awaits
        logger.exception("A session hook awaited a task that was cancelled: %r", hook)
    except Exception:  # the commit remains valid
        logger.exception("A session hook failed: %r", hook)
