"""`cart sessions`: what is in the store."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..escapes import json_text, printable
from . import output, purge
from .opened import with_sessions
from .output import JsonOption

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from ..session.sessions import SessionInfo, Sessions

# As in session.survey, which takes long to import; the type checker holds the two together.
Order = Literal["last_seen", "created", "expires", "size", "user", "handle"]

UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="ID", help="Only those of this user; `cart users list` has the ID."),
]
SortOption = Annotated[
    Order, typer.Option("--sort", help="Times and sizes from the latest and largest, names from A to Z.")
]

MASK = "***"
COLUMNS = ("HANDLE", "USER", "CREATED", "LAST SEEN", "EXPIRES", "BYTES")

app = typer.Typer(help="Show and end the sessions in the store.", no_args_is_help=True)
app.command("purge", context_settings=purge.HANDLES)(purge.purge)


@app.command("list")
def list_sessions(
    user: UserOption = None,
    limit: Annotated[
        int, typer.Option("--limit", min=0, help="Show at most so many; 0 shows all, in the store's order.")
    ] = 50,
    sort: SortOption = "last_seen",
    as_json: JsonOption = False,
) -> None:
    """List the live sessions, the last used first."""
    from ..session.survey import first

    if limit == 0:
        with_sessions(lambda sessions: _print_all(sessions, user, as_json=as_json))
        return
    infos, total = with_sessions(lambda sessions: first(sessions, limit, sort, user))
    if as_json:
        output.print_json([_as_json(info) for info in infos])
    elif infos:
        output.console().print(_table(infos))
    else:
        output.note("There is no session.")
    if total > len(infos):
        output.note(f"{total - len(infos)} more are not shown; --limit 0 shows all.")


@app.command("show", context_settings=purge.HANDLES)
def show(
    handle: Annotated[str, typer.Argument(help="The session's handle, or a beginning that no other has.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the data's values, not only its keys.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one session."""
    from ..session.survey import find_one

    purge.refuse_options([handle])
    info = with_sessions(lambda sessions: find_one(sessions, handle))
    data = {key: value if reveal else MASK for key, value in (info.data or {}).items()}
    if as_json:
        output.print_json({**_as_json(info), "data": data})
        return
    now = datetime.now(UTC)
    times = (output.moment(time, now) for time in (info.created, info.last_seen, info.expires))
    facts = zip(COLUMNS, (info.handle, info.user or "-", *times, str(info.size)), strict=True)
    _print_facts([(name.lower(), value) for name, value in facts])
    _print_facts([(f"  {key}", json_text(value)) for key, value in data.items()])
    if data and not reveal:
        output.note("The values are hidden; --reveal shows them.")


@app.command("stats")
def stats(as_json: JsonOption = False) -> None:
    """Show how many sessions there are, whose, how large and how old."""
    from ..session.survey import statistics

    figures = with_sessions(statistics)
    counts = {
        "sessions": figures.sessions,
        "users": figures.users,
        "guests": figures.guests,
        "bytes_total": figures.bytes_total,
        "bytes_mean": figures.bytes_mean,
        "bytes_largest": figures.bytes_largest,
    }
    times = {
        "oldest": figures.oldest,
        "newest": figures.newest,
        "longest_idle": figures.longest_idle,
        "last_used": figures.last_used,
    }
    if as_json:
        output.print_json(counts | {name: _json_time(time) for name, time in times.items()})
        return
    now = datetime.now(UTC)
    facts = {name: str(number) for name, number in counts.items()}
    facts |= {name: output.moment(time, now) for name, time in times.items()}
    _print_facts([(name.replace("_", " "), value) for name, value in facts.items()])


@app.command("watch")
def watch(
    user: UserOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")] = 20,
    sort: SortOption = "last_seen",
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 2.0,
    count: Annotated[int, typer.Option("--count", min=0, help="Stop after so many looks; 0 goes on.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON array in one line for each look.")
    ] = False,
) -> None:
    """Show the sessions again and again, until Ctrl-C."""
    import asyncio
    from contextlib import nullcontext

    from ..session.survey import first

    def show(infos: "list[SessionInfo]", total: int, live: "Live | None") -> None:
        if as_json:
            output.say(json_text([_as_json(info) for info in infos]))
            return
        shown = _table(infos, title=f"{total} sessions")
        live.update(shown, refresh=True) if live else output.console().print(shown)

    async def look(sessions: "Sessions") -> None:
        looks = 0
        with nullcontext() if as_json or not sys.stdout.isatty() else _live() as live:
            while True:
                show(*await first(sessions, limit, sort, user), live)
                looks += 1
                if looks == count:
                    return
                await asyncio.sleep(every)

    try:
        with_sessions(look)
    except KeyboardInterrupt:
        return


async def _print_all(sessions: "Sessions", user: str | None, *, as_json: bool) -> None:
    """One session after the other, so that there may be more than memory holds."""
    between = "[\n"
    async for info in sessions.find(user):
        if as_json:
            output.write(between + json_text(_as_json(info)))
            between = ",\n"
        else:
            output.write("\t".join(map(printable, map(str, _as_json(info).values()))) + "\n")
    if as_json:
        output.write("[]\n" if between == "[\n" else "\n]\n")


def _live() -> "Live":
    from rich.live import Live

    return Live(console=output.console(), auto_refresh=False)


def _table(infos: "Sequence[SessionInfo]", title: str | None = None) -> "Table":
    now = datetime.now(UTC)
    rows = [
        (
            info.handle,
            info.user or "-",
            output.moment(info.created, now),
            output.moment(info.last_seen, now),
            output.moment(info.expires, now),
            str(info.size),
        )
        for info in infos
    ]
    made = output.table(COLUMNS, rows, numbers=("BYTES",))
    made.title = title
    return made


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        output.say(f"{printable(name):{width}}  {value}")


def _as_json(info: "SessionInfo") -> dict[str, Any]:
    return {
        "handle": info.handle,
        "user": info.user,
        "created": _json_time(info.created),
        "last_seen": _json_time(info.last_seen),
        "expires": _json_time(info.expires),
        "size": info.size,
    }


def _json_time(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
