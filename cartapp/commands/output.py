"""How commands print and ask: tables and colours for people, plain lines without wrapping for pipes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ..escapes import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""For commands that show something, as the parameter `as_json`."""

_UNBOUNDED = 10_000  # columns: wider than any line of ours, so that nothing is wrapped in a pipe
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def console(*, stderr: bool = False) -> "Console":
    """A console on standard output, or error. rich itself obeys `NO_COLOR`."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = ()) -> "Table":
    """A table; the columns `numbers` are aligned to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def moment(time: datetime | None, now: datetime) -> str:
    """A time: as a distance from now for people, as ISO 8601 for pipes; `-` when there is none."""
    if time is None:
        return "-"
    if not sys.stdout.isatty():
        return time.isoformat(timespec="seconds")
    seconds = round((time - now).total_seconds())
    size, unit = next((u for u in _UNITS if abs(seconds) >= u[0]), _UNITS[-1])
    number = f"{abs(seconds) // size} {unit}"
    return f"in {number}" if seconds > 0 else f"{number} ago"


def print_json(value: object) -> None:
    """One JSON value on standard output; what JSON lacks is written as text."""
    write(json_text(value, indent=2) + "\n")


def say(text: str) -> None:
    """A line on standard output."""
    write(printable(text) + "\n")


def write(escaped: str) -> None:
    """Text on standard output that is escaped already."""
    typer.echo(escaped, nl=False)


def note(text: str) -> None:
    """A sentence beside the result, on standard error."""
    typer.echo(printable(text), err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Return only when `yes` was given or the answer is yes; otherwise the command ends with status 1."""
    if yes:
        return
    if not sys.stdin.isatty():
        note("This must be confirmed and there is no terminal to ask on: add --yes.")
        raise typer.Exit(1)
    if not typer.confirm(printable(question), err=True):
        note("Nothing was changed.")
        raise typer.Exit(1)


@contextmanager
def progress(description: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while long work goes on, where that is a terminal; call it with the count."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.completed}")
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda count: bar.update(task, completed=count)
