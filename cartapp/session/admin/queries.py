"""Queries over all sessions: the first N in an order, their number, statistics, and a handle by its prefix.

The backend answers them where it can (see `stores.queries`). Otherwise each function reads the headers of all
sessions once, in bounded memory, and reports its progress.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from msgspec.structs import replace

from ..arguments import check_count, check_text
from ..errors import SessionError, StoreUnavailable
from ..record import LATEST, Summary, is_key
from ..stores.base import Store
from ..stores.overview import Extent, Overview, Partitioned
from ..stores.queries import ALL, Estimable, Order, Query, Queryable, Totals
from .listing import OnCount, Pace, pages
from .sessions import SessionInfo, Sessions, info_from, time_from

_MAX_NAMED: Final = 5  # handles named in an error
_PREFIX: Final = re.compile("[A-Za-z0-9_-]{1,22}")


class HandleNotFound(SessionError, LookupError):
    """No live session has this handle or prefix."""


class AmbiguousHandle(SessionError, LookupError):
    """Several live sessions have this prefix; the message names some."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of the live sessions. Sizes are bytes of data; times are None without sessions."""

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


async def estimate(sessions: Sessions) -> int | None:
    """Return about how many records a full scan will read; None if the backend cannot say cheaply."""
    if not isinstance(sessions.store, Estimable):
        return None
    try:
        return await sessions.store.estimate()
    except StoreUnavailable:  # a missing right; the scan itself reports an outage
        return None


async def estimate_selected(sessions: Sessions, query: Query) -> int | None:
    """Return about how many sessions are selected; None if that takes a scan."""
    if isinstance(sessions.store, Queryable):
        return await sessions.store.count(query)
    return await estimate(sessions) if query == ALL else None


async def top_sessions(
    sessions: Sessions,
    limit: int,
    order: Order,
    user: str | None = None,
    *,
    query: Query | None = None,
    progress: OnCount | None = None,
) -> tuple[list[SessionInfo], int]:
    """Return the first `limit` sessions in this order, and the total number.

    `query` selects them by other conditions than a user.
    """
    _check_first("top_sessions", order, limit)
    store, query = sessions.store, query or Query(user)
    if isinstance(store, Queryable):
        first: Sequence[Summary] = await store.top(query, order, limit)
        total = len(first) if len(first) < limit else await store.count(query)
    else:
        found = await _read_overview(store, query, Extent(order, limit), progress)
        first, total = found.first, found.sessions
    return [info_from(one) for one in first], total


def _check_first(function: str, order: Order, limit: int) -> None:
    """Raise TypeError or ValueError for an impossible order or limit."""
    if order not in get_args(Order):
        expected = ", ".join(get_args(Order))
        raise ValueError(f"{function}: order: expected one of {expected}, got {order!r}.")
    check_count(f"{function}: limit", limit)


async def count_sessions(sessions: Sessions, query: Query, progress: OnCount | None = None) -> int:
    """Return the number of selected sessions."""
    if isinstance(sessions.store, Queryable):
        return await sessions.store.count(query)
    return (await _read_overview(sessions.store, query, Extent(), progress)).sessions


async def statistics(sessions: Sessions, progress: OnCount | None = None) -> Statistics:
    """Return statistics of all live sessions."""
    store = sessions.store
    if isinstance(store, Queryable):
        return _statistics(await store.totals(ALL))
    return _statistics((await _read_overview(store, ALL, Extent(totals=True), progress)).finish())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the selected sessions at one time."""

    statistics: Statistics
    first: list[SessionInfo]
    created: int
    """The number of sessions created since a given time."""


async def take_snapshot(
    sessions: Sessions, query: Query, order: Order, limit: int, *, created_since: int
) -> Snapshot:
    """Return statistics, the first `limit` sessions, and the number created since then; one scan at most.

    `created_since` is in milliseconds since 1970 UTC.
    """
    _check_first("take_snapshot", order, limit)
    store = sessions.store
    if isinstance(store, Queryable):
        first: Sequence[Summary] = await store.top(query, order, limit)
        created = await store.count(replace(query, created_since=created_since))
        found = await store.totals(query)
    else:
        extent = Extent(order, limit, totals=True, created_since=created_since)
        overview = await _read_overview(store, query, extent)
        first, created, found = overview.first, overview.created, overview.finish()
    return Snapshot(_statistics(found), [info_from(one) for one in first], created)


def _statistics(found: Totals) -> Statistics:
    times = (found.oldest, found.newest, found.longest_idle, found.last_used)
    return Statistics(
        found.sessions,
        found.users,
        found.guests,
        found.bytes_total,
        found.bytes_largest,
        # A backend that adds up by itself includes unreadable records.
        *(time_from(time) if time is not None and 0 <= time <= LATEST else None for time in times),
    )


async def resolve_handle(sessions: Sessions, prefix: str) -> SessionInfo:
    """Return the session, with its data, of a handle or a unique prefix; lists only for a prefix.

    Raises `HandleNotFound` and `AmbiguousHandle`.
    """
    check_text("resolve_handle: prefix", prefix)
    handle = prefix if is_key(prefix) else await _expand_prefix(sessions.store, prefix)
    info = await sessions.get(handle)
    if info is None:
        raise HandleNotFound(f"No session has the handle {handle!r}.")
    return info


async def _expand_prefix(store: Store, prefix: str) -> str:
    found = await _find_prefix(store, prefix) if _PREFIX.fullmatch(prefix) else []
    if not found:
        raise HandleNotFound(f"No session has a handle that begins with {prefix!r}.")
    if len(found) > 1:
        named = ", ".join(found[:_MAX_NAMED])
        more = " and others" if len(found) > _MAX_NAMED else ""
        raise AmbiguousHandle(f"Several sessions have handles that begin with {prefix!r}: {named}{more}.")
    return found[0]


async def _find_prefix(store: Store, prefix: str) -> list[str]:
    """Return the handles with a prefix, one more than an error names at most."""
    query, most = Query(prefix=prefix), _MAX_NAMED + 1
    if isinstance(store, Queryable):
        return [found.key for found in await store.top(query, "handle", most)]
    handles: dict[str, None] = {}  # a listing may return a session twice
    async for page in pages(store, query):
        handles.update(dict.fromkeys(found.key for found in page))
        if len(handles) >= most:
            break
    return list(handles)[:most]


async def _read_overview(
    store: Store, query: Query, extent: Extent, progress: OnCount | None = None
) -> Overview:
    """Read all selected sessions once."""
    overview, pace = Overview(extent), Pace(progress)
    if isinstance(store, Partitioned):
        async for part in store.overviews(query, extent):
            overview.merge(part)
            await pace.add(part.sessions)
        return overview
    async for page in pages(store, query):
        overview.add(page)
        await pace.add(len(page))
    return overview
