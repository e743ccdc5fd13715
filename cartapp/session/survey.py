"""What a store holds, for people: the first few in some order, figures, and a handle by its beginning.

Each function passes over the store once, in bounded memory.
"""

import heapq
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from .errors import SessionError
from .record import is_key
from .sessions import SessionInfo, Sessions

Order = Literal["last_seen", "created", "expires", "size", "user", "handle"]
"""Times and sizes go from the latest and largest down, names from A to Z with guests at the end."""

_SPARE = 1000  # how many more than wanted are gathered before the rest is dropped
_NAMED = 5  # of the handles that share a beginning


class HandleUnknown(SessionError, LookupError):
    """No live session's handle is, or begins, so."""


class HandleAmbiguous(SessionError, LookupError):
    """Several live sessions' handles begin so; the message names some."""


@dataclass(slots=True)
class Statistics:
    """Figures on the live sessions; sizes are bytes of data. Without a session there are no times."""

    sessions: int = 0
    users: int = 0
    guests: int = 0
    bytes_total: int = 0
    bytes_largest: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    longest_idle: datetime | None = None
    last_used: datetime | None = None

    @property
    def bytes_mean(self) -> int:
        """The mean size, rounded."""
        return round(self.bytes_total / self.sessions) if self.sessions else 0


async def first(
    sessions: Sessions, limit: int, order: Order, user: str | None = None
) -> tuple[list[SessionInfo], int]:
    """The first `limit` sessions in this order, and how many there are altogether."""
    total = 0
    gathered: list[SessionInfo] = []
    async for info in sessions.find(user):
        total += 1
        gathered.append(info)
        if len(gathered) > limit + _SPARE:
            gathered = _first(gathered, limit, order)
    return _first(gathered, limit, order), total


async def statistics(sessions: Sessions) -> Statistics:
    """Figures on all live sessions."""
    figures = Statistics()
    users: set[int] = set()  # hashes, since names may be long
    async for info in sessions.find():
        figures.sessions += 1
        if info.user is None:
            figures.guests += 1
        else:
            users.add(hash(info.user))
        figures.bytes_total += info.size
        figures.bytes_largest = max(figures.bytes_largest, info.size)
        figures.oldest = min(figures.oldest or info.created, info.created)
        figures.newest = max(figures.newest or info.created, info.created)
        figures.longest_idle = min(figures.longest_idle or info.last_seen, info.last_seen)
        figures.last_used = max(figures.last_used or info.last_seen, info.last_seen)
    figures.users = len(users)
    return figures


async def find_one(sessions: Sessions, beginning: str) -> SessionInfo:
    """The session, with its data, whose handle begins so; for a whole handle nothing is listed.

    Raises `HandleUnknown` and `HandleAmbiguous`.
    """
    handle = beginning if is_key(beginning) else await _only_handle(sessions, beginning)
    info = await sessions.get(handle)
    if info is None:
        raise HandleUnknown(f"No session has the handle {handle!r}.")
    return info


async def _only_handle(sessions: Sessions, beginning: str) -> str:
    found: list[str] = []
    async for info in sessions.find():
        if info.handle.startswith(beginning) and len(found) <= _NAMED:
            found.append(info.handle)
    if not found:
        raise HandleUnknown(f"No session's handle begins with {beginning!r}.")
    if len(found) > 1:
        named = ", ".join(found[:_NAMED])
        more = " and others" if len(found) > _NAMED else ""
        raise HandleAmbiguous(f"Several sessions' handles begin with {beginning!r}: {named}{more}.")
    return found[0]


def _first(infos: list[SessionInfo], limit: int, order: Order) -> list[SessionInfo]:
    if order == "user":
        return heapq.nsmallest(limit, infos, key=lambda info: (info.user is None, info.user or ""))

    def key(info: SessionInfo) -> Any:
        return getattr(info, order)

    return heapq.nsmallest(limit, infos, key) if order == "handle" else heapq.nlargest(limit, infos, key)
