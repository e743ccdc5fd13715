"""Selections of sessions to end: by handle, by idleness, by user, or all."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from ..stores.queries import Query
from .listing import OnCount, Pace
from .queries import count_sessions, estimate_selected, resolve_handle
from .sessions import Sessions


class Selection(Protocol):
    """Live sessions that can be counted and ended.

    `progress` is called with the number so far; `rate` limits it, in sessions a second.
    """

    async def estimate(self, sessions: Sessions) -> int | None:
        """Return about how many sessions are selected; None if that takes a scan."""

    async def count(self, sessions: Sessions, progress: OnCount | None = None) -> int:
        """Return the number of selected sessions."""

    async def end(
        self, sessions: Sessions, progress: OnCount | None = None, rate: float | None = None
    ) -> int:
        """End the selected sessions and return their number."""


class ByHandle:
    """Sessions named by handles or unique prefixes of handles.

    The methods may raise `HandleNotFound` and `AmbiguousHandle`.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        if isinstance(prefixes, str):  # each character would be a prefix
            raise TypeError(f"ByHandle: prefixes: expected a list of strings, got {prefixes!r}.")
        self._prefixes = prefixes
        self._handles: list[str] | None = None

    async def estimate(self, sessions: Sessions) -> int | None:
        """See `Selection`."""
        return await self.count(sessions)

    async def count(self, sessions: Sessions, progress: OnCount | None = None) -> int:
        """See `Selection`."""
        return len(await self._resolve(sessions))

    async def end(
        self, sessions: Sessions, progress: OnCount | None = None, rate: float | None = None
    ) -> int:
        """See `Selection`. Handles that `count` resolved are not resolved again."""
        pace = Pace(progress, rate)
        for handle in await self._resolve(sessions):
            await pace.add(await sessions.end(handle))
        return pace.number

    async def _resolve(self, sessions: Sessions) -> list[str]:
        if self._handles is None:
            handles = [(await resolve_handle(sessions, prefix)).handle for prefix in self._prefixes]
            self._handles = list(dict.fromkeys(handles))
        return self._handles


class ByIdleness:
    """Sessions idle for some time. `keep_alive_step`: how far the stored last use may lag behind."""

    def __init__(self, idle: timedelta, *, keep_alive_step: timedelta) -> None:
        self._idle, self._step = idle, keep_alive_step

    async def estimate(self, sessions: Sessions) -> int | None:
        """See `Selection`."""
        return await estimate_selected(sessions, sessions.idle_query(self._idle, self._step))

    async def count(self, sessions: Sessions, progress: OnCount | None = None) -> int:
        """See `Selection`."""
        return await sessions.end_idle(self._idle, step=self._step, dry_run=True, progress=progress)

    async def end(
        self, sessions: Sessions, progress: OnCount | None = None, rate: float | None = None
    ) -> int:
        """See `Selection`."""
        return await sessions.end_idle(self._idle, step=self._step, progress=progress, rate=rate)


class ByUser:
    """Sessions of one user, or of all users and guests."""

    def __init__(self, user: str | None) -> None:
        self._user = user

    async def estimate(self, sessions: Sessions) -> int | None:
        """See `Selection`."""
        return await estimate_selected(sessions, Query(self._user))

    async def count(self, sessions: Sessions, progress: OnCount | None = None) -> int:
        """See `Selection`."""
        return await count_sessions(sessions, Query(self._user), progress)

    async def end(
        self, sessions: Sessions, progress: OnCount | None = None, rate: float | None = None
    ) -> int:
        """See `Selection`."""
        if self._user is None:
            return await sessions.clear(progress=progress, rate=rate)
        return await sessions.end_user(self._user, progress=progress, rate=rate)
