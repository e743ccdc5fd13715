"""What an application may be told of: a session began, ended, or got a new id."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("cartapp.session")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions, plain or async, called in the process that acts, after the commit.

    Expiry by a server fires none. A hook that fails is logged and harms nothing.
    """

    on_started: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Gets the handle and the data of a new session."""
    on_deleted: Callable[[str, Mapping[str, Any]], Awaitable[None] | None] | None = None
    """Gets the handle of a session that was destroyed, and its last data."""
    on_regenerated: Callable[[str, str], Awaitable[None] | None] | None = None
    """Gets the old and the new handle."""

    async def started(self, handle: str, data: Mapping[str, Any]) -> None:
        """Call `on_started`."""
        await _call(self.on_started, handle, data)

    async def deleted(self, handle: str, data: Mapping[str, Any]) -> None:
        """Call `on_deleted`."""
        await _call(self.on_deleted, handle, data)

    async def regenerated(self, old: str, new: str) -> None:
        """Call `on_regenerated`."""
        await _call(self.on_regenerated, old, new)


async def _call(hook: Callable[..., Awaitable[None] | None] | None, *args: object) -> None:
    if hook is None:
        return
    try:
        answer = hook(*args)
        if inspect.isawaitable(answer):
            await answer
    except Exception:  # the commit stands whatever a hook does
        logger.exception("A session hook failed: %r", hook)
