"""`cart sessions watch`: a live view on a terminal, JSON lines elsewhere."""

import asyncio
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final

from cartapp.escapes import dump_json

from . import audit, output

if TYPE_CHECKING:
    from cartapp.session import SessionInfo, Sessions
    from cartapp.session.admin import Statistics
    from cartapp.session.stores import Order

    from .watch_metrics import Rates
    from .watch_view import View

ORDERS: "Final[tuple[Order, ...]]" = ("last_seen", "created", "expires", "size", "user", "handle")
_SHARE: Final = 4  # a refresh waits this many times as long as its queries took, so that they stay few


@dataclass(slots=True)
class Frame:
    """What one refresh shows."""

    backend: str
    statistics: "Statistics"
    sessions: "list[SessionInfo]"
    created_per_second: float | None = None
    ended_per_second: float | None = None
    latency: float = 0.0
    """Milliseconds of a ping of the store."""
    rates: "Rates | None" = None


@dataclass(slots=True)
class Watch:
    """The state of the view: what is selected and shown."""

    sessions: "Sessions"
    user: str | None
    order: "Order"
    limit: int
    every: float
    metrics: str | None = None
    prefix: str = ""
    row: int = 0
    """The selected row."""
    message: str = ""
    """The result of the last key."""
    problem: str = ""
    """What the last refresh could not read."""
    _has_responded: bool = field(default=False, init=False)
    """Whether the store has responded to a refresh."""
    _before: tuple[float, int, int] | None = field(default=None, init=False)
    """Time of the last refresh, on the monotonic clock and in milliseconds since 1970, and its sessions."""
    _rates: "Any" = field(default=None, init=False)

    async def refresh(self) -> Frame | None:
        """Query the store; return None during an outage, which `problem` describes.

        Raises `StoreUnavailable` if the store has not responded before: it may be the wrong one.
        """
        from cartapp.session import StoreUnavailable

        self.problem = ""
        try:
            frame = await self._query()
        except StoreUnavailable as error:
            if not self._has_responded:
                raise
            self.problem = str(error)
            return None
        self._has_responded = True
        return frame

    async def _query(self) -> Frame:
        from cartapp.session import now
        from cartapp.session.admin import Query, take_snapshot

        began, at = monotonic(), now()
        since = at if self._before is None else self._before[1]
        started = perf_counter()
        await self.sessions.store.ping()
        latency = (perf_counter() - started) * 1000
        query = Query(self.user, self.prefix)
        found = await take_snapshot(self.sessions, query, self.order, self.limit, created_since=since)
        frame = Frame(self.sessions.backend, found.statistics, found.first, latency=latency)
        number = found.statistics.sessions
        if self._before is not None:
            seconds = began - self._before[0]
            frame.created_per_second = found.created / seconds
            frame.ended_per_second = max(0, self._before[2] + found.created - number) / seconds
        self._before = began, at, number
        frame.rates = await self._read_metrics()
        return frame

    async def _read_metrics(self) -> "Rates | None":
        from .watch_metrics import MetricsReader, MetricsUnavailable

        if self.metrics is None:
            return None
        self._rates = self._rates or MetricsReader(self.metrics)
        try:
            rates: Rates = await asyncio.to_thread(self._rates.read)
        except MetricsUnavailable as error:
            self.problem = f"{self.metrics} cannot be read: {error}."
            return None
        return rates

    def select(self, *, user: str | None, prefix: str) -> None:
        """Show other sessions; rates begin again."""
        self.user, self.prefix, self.row, self._before = user, prefix, 0, None

    def sort(self) -> None:
        """Switch to the next order."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]

    async def end(self, handle: str) -> None:
        """End a session."""
        ended = await self.sessions.end(handle)
        self.message = f"Ended {handle}." if ended else f"{handle} had ended."
        if ended:
            audit.record("sessions watch", selected=handle, ended=1)


async def watch(state: Watch, count: int, *, as_json: bool) -> None:
    """Show `count` frames, without end if it is 0: on a terminal with keys, or as lines of JSON."""
    if as_json or not sys.stdout.isatty():
        await _print_lines(state, count)
        return
    from .watch_view import View

    with View(state) as view:
        try:
            await _show(state, view, count)
        finally:
            await view.finish()


async def _show(state: Watch, view: "View", count: int) -> None:
    shown = 0
    while not view.closed:
        began = monotonic()
        frame = await state.refresh()
        view.show(frame)
        shown += 1
        if shown == count:
            return
        with suppress(TimeoutError):  # a key may change the view at once
            async with asyncio.timeout(_pause(state, frame, began)):
                await view.wait_for_change()


async def _print_lines(state: Watch, count: int) -> None:
    shown = 0
    while True:
        began = monotonic()
        frame = await state.refresh()
        values = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "backend": state.sessions.backend,
            **({} if frame is None else _as_json(frame)),
            **({"error": state.problem} if state.problem else {}),
        }
        output.write(dump_json(values) + "\n")
        sys.stdout.flush()
        shown += 1
        if shown == count:
            return
        await asyncio.sleep(_pause(state, frame, began))


def _pause(state: Watch, frame: Frame | None, began: float) -> float:
    """Return the seconds until the next refresh. An outage, which costs the store nothing, adds none."""
    return state.every if frame is None else max(state.every, _SHARE * (monotonic() - began))


def _as_json(frame: Frame) -> dict[str, Any]:
    from .sessions import session_as_json

    figures = asdict(frame.statistics) | {"bytes_mean": frame.statistics.bytes_mean}
    return {
        **{
            name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for name, value in figures.items()
        },
        "created_per_second": frame.created_per_second,
        "ended_per_second": frame.ended_per_second,
        "latency_ms": round(frame.latency, 3),
        **({} if frame.rates is None else asdict(frame.rates)),
        "list": [session_as_json(info, frame.backend) for info in frame.sessions],
    }
