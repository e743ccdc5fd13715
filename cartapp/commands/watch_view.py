"""The live view of `cart sessions watch`, and its keys."""

import asyncio
import os
import re
import sys
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from rich.live import Live
from rich.text import Text

from cartapp.escapes import escape_line
from cartapp.session import SessionError

from . import output
from .watch_screen import fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .watch import Frame, Watch

HELP: Final = "s sort   f filter   ↑↓ select   x end session   q quit"
_ARROWS: Final = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}
_KEYS: Final = re.compile(r"\x1b[\[O].|.", re.DOTALL)
"""Several keys may arrive together."""
_ENTER: Final = ("\r", "\n")
_ERASE: Final = ("\x7f", "\x08")


class View:
    """The view on a terminal, for a `with` block. Keys work if standard input is a terminal too."""

    def __init__(self, state: "Watch") -> None:
        self._state = state
        self._live = Live(console=output.console(), auto_refresh=False)
        self._frame: Frame | None = None
        self._stack = ExitStack()
        self._changed = asyncio.Event()
        self._input: str | None = None
        """The filter that is being typed."""
        self._to_end: str | None = None
        """The handle to end after a confirmation."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    def __enter__(self) -> Self:
        """Start the view and read keys."""
        self._stack.enter_context(self._live)
        if sys.stdin.isatty():
            self._stack.enter_context(_single_keys(sys.stdin.fileno()))
            loop = asyncio.get_running_loop()
            loop.add_reader(sys.stdin.fileno(), self._read_keys)
            self._stack.callback(loop.remove_reader, sys.stdin.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the terminal."""
        self._stack.close()

    async def finish(self) -> None:
        """Wait for the ends of sessions that keys began, so that each has its line in the audit log."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_for_change(self) -> None:
        """Wait until a key changed what the view must query."""
        await self._changed.wait()
        self._changed.clear()

    def show(self, frame: "Frame | None") -> None:
        """Show a frame, during an outage the one before."""
        if frame is not None:
            self._frame = frame
            self._state.row = max(0, min(self._state.row, len(frame.sessions) - 1))
        self._draw()

    def _draw(self) -> None:
        if self._frame is not None:
            header, footer = list(self._header(self._frame)), self._footer()
            row = self._state.row if sys.stdin.isatty() else None
            self._live.update(
                fit(self._live.console, header, self._frame.sessions, row, footer), refresh=True
            )

    def _header(self, frame: "Frame") -> "Iterator[Text]":
        state = self._state
        selected = " ".join(filter(None, (state.user and f"user {state.user}", state.prefix)))
        yield Text(
            f"{_figures(frame)}{f'   filter: {escape_line(selected)}' if selected else ''}", style="bold"
        )
        yield Text(_speeds(frame), style="dim")
        if frame.rates is not None:
            yield Text(_server(frame), style="dim")

    def _footer(self) -> Text:
        if self._input is not None:
            return Text(f"User or beginning of a handle, then Enter: {escape_line(self._input)}")
        if self._to_end is not None:
            return Text(f"End {self._to_end}? y/n")
        notices = [escape_line(text) for text in (self._state.problem, self._state.message) if text]
        keys = HELP if sys.stdin.isatty() else "Ctrl-C quits"
        return Text("\n".join((*notices, f"sorted by {self._state.order}   {keys}")))

    # -- keys ---------------------------------------------------------------------------------------------

    def _read_keys(self) -> None:
        text = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
        self._state.message = ""
        for key in _KEYS.findall(text):
            self._press(_ARROWS.get(key, key))
        self._draw()

    def _press(self, key: str) -> None:
        if self._input is not None:
            self._type(key, self._input)
        elif self._to_end is not None:
            if key == "y":
                self._end(self._to_end)
            self._to_end = None
        elif key in ("up", "k"):
            self._state.row = max(0, self._state.row - 1)
        elif key in ("down", "j"):
            self._state.row += 1
            self._state.row = min(self._state.row, len(self._frame.sessions) - 1 if self._frame else 0)
        elif key == "s":
            self._state.sort()
            self._changed.set()
        elif key == "f":
            self._input = ""
        elif key == "x" and self._frame and self._frame.sessions:
            self._to_end = self._frame.sessions[self._state.row].handle
        elif key == "q":
            self.closed = True
            self._changed.set()

    def _type(self, key: str, before: str) -> None:
        """Edit the filter. A text with an @ or of 32 characters is a user, another one begins a handle."""
        if key in _ERASE:
            self._input = before[:-1]
        elif key not in _ENTER:
            self._input = before + key if key.isprintable() and len(key) == 1 else before
        else:
            self._input = None
            self._start(self._filter(before))

    async def _filter(self, text: str) -> None:
        from .connections import user_id

        is_user = "@" in text or len(text) > 22
        try:
            user = await asyncio.to_thread(user_id, text) if is_user else None
        except Exception as error:  # noqa: BLE001 - shown; the view goes on
            self._state.message = f"{error}."
            return
        self._state.select(user=user, prefix="" if is_user else text)
        self._changed.set()

    def _end(self, handle: str) -> None:
        self._start(self._end_session(handle))

    async def _end_session(self, handle: str) -> None:
        try:
            await self._state.end(handle)
        except SessionError as error:
            self._state.message = str(error)
        self._changed.set()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _figures(frame: "Frame") -> str:
    figures = frame.statistics
    return (
        f"{figures.sessions:,} {'session' if figures.sessions == 1 else 'sessions'} on {frame.backend}   "
        f"{figures.users:,} users   {figures.guests:,} of guests   {figures.bytes_mean:,} bytes on average   "
        f"{figures.bytes_total:,} in total"
    )


def _speeds(frame: "Frame") -> str:
    oldest = output.format_time(frame.statistics.oldest, datetime.now(UTC))
    return (
        f"new {_number(frame.created_per_second)}/s   ended {_number(frame.ended_per_second)}/s   "
        f"oldest {oldest}   store {frame.latency:.1f} ms"
    )


def _server(frame: "Frame") -> str:
    rates = frame.rates
    if rates is None:
        return ""
    return (
        f"requests {_number(rates.requests_per_second)}/s   5xx {_number(rates.errors_per_second)}/s   "
        f"conflicts {_number(rates.conflicts_per_second)}/s   "
        f"store calls {_number(rates.calls_per_second)}/s   "
        f"slowest at most {_number(rates.slowest_call_ms)} ms"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


@contextmanager
def _single_keys(terminal: int) -> "Iterator[None]":
    """Read keys as they are pressed, without showing them."""
    import termios
    import tty

    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
