"""`cart sessions`: show and end sessions."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cartapp.escapes import dump_json, escape_line

from . import output, purge
from .connections import check_user, user_id, with_sessions
from .output import JsonOption

if TYPE_CHECKING:
    from rich.table import Table

    from cartapp.session import SessionInfo, Sessions
    from cartapp.session.admin import Query, Statistics

# A copy of `session.stores.queries.Order`, which is slow to import. mypy compares the two.
Order = Literal["last_seen", "created", "expires", "size", "user", "handle"]

UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", help="Sessions of a user only, by e-mail address or ID."),
]
SortOption = Annotated[
    Order, typer.Option("--sort", help="Sort order. Times and sizes descend, names ascend.")
]

MASK = "***"
COLUMNS = ("HANDLE", "USER", "CREATED", "LAST SEEN", "EXPIRES", "BYTES")

app = typer.Typer(
    help="Show and end sessions.\n\nExample: cart sessions list --user ann@example.com", no_args_is_help=True
)
app.command("purge", context_settings=purge.HANDLES)(purge.purge)


@app.command("list")
def list_sessions(
    user: UserOption = None,
    idle: Annotated[
        timedelta | None,
        typer.Option(
            "--idle", parser=purge.duration, metavar="TIME", help="Not used for this long: 12h, 7d."
        ),
    ] = None,
    since: Annotated[
        timedelta | None,
        typer.Option(
            "--since", parser=purge.duration, metavar="TIME", help="Used within this time: 30m, 12h."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Maximum number; 0 lists all, unsorted.")] = 50,
    sort: SortOption = "last_seen",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: one array, or with --limit 0 one object per line.")
    ] = False,
) -> None:
    """List the live sessions, most recently used first.

    The backend sorts and selects where it can. Otherwise the headers of all sessions are read.

    Example: cart sessions list --sort size --limit 10
    """
    from cartapp.session.admin import Query, top_sessions

    query = Query(user_id(user), used_before=_ago(idle), used_since=_ago(since))
    if limit == 0:
        number = with_sessions(lambda sessions: _print_all(sessions, query, as_json=as_json))
        if user is not None and not number:
            check_user(user)
        return
    with output.progress("Reading") as bar:

        async def read(sessions: "Sessions") -> "tuple[list[SessionInfo], int, str]":
            bar.total = await _total(sessions)
            return *await top_sessions(sessions, limit, sort, query=query, progress=bar), sessions.backend

        infos, total, backend = with_sessions(read)
    if user is not None and not infos:
        check_user(user)
    if as_json:
        output.print_json([session_as_json(info, backend) for info in infos])
    elif infos:
        output.console().print(session_table(infos))
    else:
        output.print_notice("No sessions.")
    if total > len(infos):
        output.print_notice(f"{total - len(infos)} more sessions. Use --limit 0 to list all.")


@app.command("show", context_settings=purge.HANDLES)
def show(
    handle: Annotated[str, typer.Argument(help="Handle of the session, or a unique prefix.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show the values of the data.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show a session. The values of its data are masked.

    Example: cart sessions show 4hX2 --reveal
    """
    from cartapp.session.admin import resolve_handle

    purge.reject_options([handle])

    async def resolve(sessions: "Sessions") -> "tuple[SessionInfo, str]":
        return await resolve_handle(sessions, handle), sessions.backend

    info, backend = with_sessions(resolve)
    data = {key: value if reveal else MASK for key, value in (info.data or {}).items()}
    if as_json:
        output.print_json({**session_as_json(info, backend), "data": data})
        return
    now = datetime.now(UTC)
    times = (output.format_time(time, now) for time in (info.created, info.last_seen, info.expires))
    facts = zip(COLUMNS, (info.handle, info.user or "-", *times, str(info.size)), strict=True)
    _print_facts([(name.lower(), value) for name, value in facts])
    _print_facts([(f"  {key}", dump_json(value)) for key, value in data.items()])
    if data and not reveal:
        output.print_notice("Values are masked. Use --reveal to show them.")


@app.command("stats")
def stats(as_json: JsonOption = False) -> None:
    """Show the number, sizes and ages of the sessions.

    Example: cart sessions stats --json
    """
    from cartapp.session.admin import statistics

    with output.progress("Reading") as bar:

        async def read(sessions: "Sessions") -> "Statistics":
            bar.total = await _total(sessions)
            return await statistics(sessions, bar)

        figures = with_sessions(read)
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
    facts |= {name: output.format_time(time, now) for name, time in times.items()}
    _print_facts([(name.replace("_", " "), value) for name, value in facts.items()])


@app.command("watch")
def watch(
    user: UserOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number.")] = 20,
    sort: SortOption = "last_seen",
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between refreshes.")] = 2.0,
    count: Annotated[int, typer.Option("--count", min=0, help="Number of refreshes; 0 for no limit.")] = 0,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="URL", help="Show rates from a server's /metrics too.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each refresh, on a terminal too.")
    ] = False,
) -> None:
    """Watch the sessions until Ctrl-C: their number, new and ended ones per second, and the first ones.

    On a terminal keys sort, filter, and end a session. Elsewhere each refresh is one line of JSON.

    Example: cart sessions watch --metrics http://localhost:7147/metrics
    """
    from .watch import Watch
    from .watch import watch as show
    from .watch_metrics import is_http_url

    selected = user_id(user)
    if user is not None:
        check_user(user)
    if metrics is not None and not is_http_url(metrics):
        raise typer.BadParameter("--metrics: expected an http or https URL.")
    with suppress(KeyboardInterrupt):
        with_sessions(
            lambda sessions: show(
                Watch(sessions, selected, sort, limit, every, metrics), count, as_json=as_json
            )
        )


async def _print_all(sessions: "Sessions", query: "Query", *, as_json: bool) -> int:
    """Print one session at a time, in bounded memory; return their number."""
    if not as_json:
        output.write("\t".join((*COLUMNS, "BACKEND")) + "\n")
    backend, number = sessions.backend, 0
    async for info in sessions.find(query=query):
        number += 1
        values = session_as_json(info, backend)
        if as_json:
            output.write(dump_json(values) + "\n")
        else:
            fields = ("-" if value is None else escape_line(str(value)) for value in values.values())
            output.write("\t".join(fields) + "\n")
    return number


async def _total(sessions: "Sessions") -> int | None:
    """Return the total for a progress bar, if one may be shown."""
    from cartapp.session.admin import estimate
    from cartapp.session.stores import Queryable

    if not sys.stderr.isatty() or isinstance(sessions.store, Queryable):
        return None
    return await estimate(sessions)


def _ago(time: timedelta | None) -> int | None:
    """Return the time so long ago, in milliseconds since 1970; negative before."""
    from cartapp.session import now

    return None if time is None else now() - time // timedelta(milliseconds=1)


def session_table(infos: "Sequence[SessionInfo]", *, shorten: str | None = None) -> "Table":
    """Return the sessions as a table. For `shorten` see `output.table`."""
    now = datetime.now(UTC)
    rows = [
        (
            info.handle,
            info.user or "-",
            output.format_time(info.created, now),
            output.format_time(info.last_seen, now),
            output.format_time(info.expires, now),
            str(info.size),
        )
        for info in infos
    ]
    return output.table(COLUMNS, rows, numbers=("BYTES",), shorten=shorten)


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        output.print_line(f"{escape_line(name):{width}}  {value}")


def session_as_json(info: "SessionInfo", backend: str) -> dict[str, Any]:
    """Return the fields of a session for JSON."""
    return {
        "handle": info.handle,
        "user": info.user,
        "created": _json_time(info.created),
        "last_seen": _json_time(info.last_seen),
        "expires": _json_time(info.expires),
        "size": info.size,
        "backend": backend,
    }


def _json_time(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
