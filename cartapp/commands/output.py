"""Output of the commands: tables and colors on a terminal, plain unwrapped lines in a pipe."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cartapp.escapes import dump_json, escape_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""Option of the commands that list or show something; the parameter is `as_json`."""

_UNBOUNDED = 10_000  # columns; wider than any line, so that nothing is wrapped in a pipe
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def console(*, stderr: bool = False) -> "Console":
    """Create a console on standard output or error. rich obeys `NO_COLOR`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    shorten: str | None = None,
) -> "Table":
    """Create a table. The columns `numbers` are right-aligned.

    With `shorten` each row takes one line, without space around the table; on a narrow terminal this column
    is shortened first.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    is_short = shorten is not None

    def cell(text: str) -> Text:
        return Text(escape_line(text), no_wrap=is_short, overflow="ellipsis" if is_short else "fold")

    border = box.SIMPLE_HEAD if sys.stdout.isatty() else None
    table = Table(box=border, pad_edge=False, show_edge=not is_short)
    for column in columns:
        table.add_column(
            cell(column),
            justify="right" if column in numbers else "left",
            overflow="fold",
            no_wrap=is_short and column != shorten,
        )
    for row in rows:
        table.add_row(*map(cell, row))
    return table


def format_time(time: datetime | None, now: datetime) -> str:
    """Format a time: relative to `now` on a terminal, ISO 8601 in a pipe, `-` for None."""
    if time is None:
        return "-"
    if not sys.stdout.isatty():
        return time.isoformat(timespec="seconds")
    seconds = round((time - now).total_seconds())
    size, unit = next((u for u in _UNITS if abs(seconds) >= u[0]), _UNITS[-1])
    number = f"{abs(seconds) // size} {unit}"
    return f"in {number}" if seconds > 0 else f"{number} ago"


def print_json(value: object) -> None:
    """Print a JSON value to standard output. Other types are written as text."""
    write(dump_json(value, indent=2) + "\n")


def print_line(text: str) -> None:
    """Print a line to standard output."""
    write(escape_line(text) + "\n")


def write(escaped: str) -> None:
    """Write escaped text to standard output."""
    typer.echo(escaped, nl=False)


def print_notice(text: str) -> None:
    """Print a line to standard error."""
    typer.echo(escape_line(text), err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation unless `yes` is set. Exits with status 1 on any other answer than yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        print_notice("Cannot ask for confirmation without a terminal. Add --yes.")
        raise typer.Exit(1)
    with _interruptible():
        is_confirmed = typer.confirm(escape_line(question), err=True)
    if not is_confirmed:
        print_notice("Nothing was changed.")
        raise typer.Exit(1)


def ask_password() -> str:
    """Ask for a new password twice, without showing it."""
    with _interruptible():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt after Ctrl-C at a prompt; click raises Abort, as at the end of input."""
    try:
        yield
    except typer.Abort as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        typer.echo(err=True)
        print_notice("Nothing was changed.")
        raise KeyboardInterrupt from None


class ProgressBar:
    """A progress bar on standard error, if that is a terminal; shown from the first call on."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.total: int | None = None
        self.count = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, count: int) -> None:
        """Show the number done so far, with the total, rate and time left if `total` is set."""
        self.count = count
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._bar = _progress()
            self._bar.start()
            self._task = self._bar.add_task(self.description, total=self.total)
        if self._task is not None:
            self._bar.update(self._task, completed=count, total=self.total)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(description: str) -> Iterator[ProgressBar]:
    """Yield a progress bar, and remove it at the end of the block."""
    bar = ProgressBar(description)
    try:
        yield bar
    finally:
        bar.close()


def _progress() -> "Progress":
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Count(ProgressColumn):
        """The number done, the total and the rate."""

        def render(self, task: Task) -> Text:
            total = "" if task.total is None else f" of about {task.total:,.0f}"
            rate = "" if task.speed is None else f", {task.speed:,.0f}/s"
            return Text(f"{task.completed:,.0f}{total}{rate}")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        Count(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    return Progress(*columns, console=console(stderr=True), transient=True)
