"""`cart sessions purge`: end sessions and remove expired ones."""

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from . import audit, output
from .connections import find_user, with_sessions, with_users

if TYPE_CHECKING:
    from cartapp.accounts import User
    from cartapp.session import Sessions
    from cartapp.session.admin import Selection

# A handle may begin with a dash, so unknown options are parsed as arguments; see `reject_options`.
HANDLES = {"ignore_unknown_options": True}

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """Parse a duration such as `7d`: a whole number of seconds, minutes, hours, days or weeks."""
    matched = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not matched:
        raise typer.BadParameter("Expected a duration such as 90s, 30m, 12h, 7d or 2w.")
    return timedelta(**{_UNITS[matched[2]]: int(matched[1])})


def reject_options(handles: Sequence[str]) -> None:
    """Reject mistyped options among handles that begin with a dash."""
    for handle in handles:
        if handle.startswith("--") and len(handle) < 22:
            raise typer.BadParameter(f"No such option: {handle}.")


def purge(
    handles: Annotated[
        list[str] | None, typer.Argument(metavar="HANDLE", help="Handles, or unique prefixes of handles.")
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Remove expired sessions, without asking.")
    ] = False,
    idle: Annotated[
        timedelta | None,
        typer.Option(
            "--idle", parser=duration, metavar="TIME", help="End sessions idle for this long: 30m, 12h, 7d."
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="USER", help="Log out a user, by e-mail address or ID, everywhere."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="End all sessions.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rate: Annotated[
        int | None, typer.Option("--limit-rate", min=1, metavar="N", help="End at most N sessions a second.")
    ] = None,
) -> None:
    """End sessions: named ones, or those that an option selects.

    Works in batches. After Ctrl-C, ended sessions stay ended; repeat the command to continue. A line in the
    audit log records each run.

    Example: cart sessions purge --idle 7d --dry-run
    """
    handles = handles or []
    reject_options(handles)
    if sum((bool(handles), expired, idle is not None, user is not None, everything)) != 1:
        raise typer.BadParameter("Give exactly one of --expired, --idle, --user, --all and HANDLE.")
    if expired:
        _remove_expired(rate, dry_run=dry_run)
    elif user is not None:
        _log_out(user, rate, dry_run=dry_run, yes=yes)
    else:
        selection, description = _select(handles, idle)
        _end(selection, description, rate, dry_run=dry_run, yes=yes)


def _select(handles: Sequence[str], idle: timedelta | None) -> tuple["Selection", str]:
    """Return the selection and its description in the confirmation prompt."""
    from cartapp.session.admin import ByHandle, ByIdleness, ByUser
    from cartapp.settings import load

    if handles:
        resolved = with_sessions(partial(_resolve, handles))  # the audit log records whole handles
        return ByHandle(resolved), f" {' '.join(resolved)}"
    if idle is not None:
        step = timedelta(seconds=load().session_ttl / 10)
        return ByIdleness(idle, keep_alive_step=step), f" idle for {str(idle).removesuffix(', 0:00:00')}"
    return ByUser(None), ""


async def _resolve(prefixes: Sequence[str], sessions: "Sessions") -> list[str]:
    from cartapp.session.admin import resolve_handle

    handles = [(await resolve_handle(sessions, prefix)).handle for prefix in prefixes]
    return list(dict.fromkeys(handles))


def _end(selection: "Selection", description: str, rate: int | None, *, dry_run: bool, yes: bool) -> None:
    count = None
    if dry_run or not yes:
        count = _count(selection)
        if not count:
            output.print_line("No sessions to end.")
            return
    if dry_run:
        output.print_line(f"Would end {_sessions(count or 0)}.")
        return
    output.confirm(f"End {_sessions(count or 0)}{description}?", yes=yes)
    end = partial(_end_all, selection, rate)
    ended = _run("Ending", description.strip() or "all", count, end)
    output.print_line(f"Ended {_sessions(ended)}." if ended else "No sessions to end.")


def _log_out(user: str, rate: int | None, *, dry_run: bool, yes: bool) -> None:
    """End the sessions of a user, and the remember-me tokens if there is an account."""
    from cartapp.session.admin import ByUser

    account = find_user(user)
    selection = ByUser(user if account is None else account.id)
    count = _count(selection) if dry_run or not yes or account is None else None
    if count == 0 and account is None:
        output.print_notice(f"There is no user {user}, and no session of one.")
        raise typer.Exit(1)
    if dry_run:
        output.print_line(f"Would end {_sessions(count or 0)}.")
        return
    devices = "" if account is None else " and all remembered devices"
    output.confirm(f"End {_sessions(count or 0)}{devices} of user {user}?", yes=yes)
    ended = _run("Ending", f"user {user}", count, partial(_end_all, selection, rate), account)
    output.print_line(f"Ended {_sessions(ended)}{devices}.")


def _remove_expired(rate: int | None, *, dry_run: bool) -> None:
    if dry_run:
        count = with_sessions(lambda sessions: sessions.count_expired())
        output.print_line(f"Would remove {_sessions(count, 'expired ')}.")
        return

    async def remove(sessions: "Sessions", bar: output.ProgressBar) -> int:
        if sys.stderr.isatty():
            bar.total = await sessions.count_expired()
        return await sessions.purge(progress=bar, rate=rate)

    removed = _run("Removing", "expired", None, remove)
    output.print_line(f"Removed {_sessions(removed, 'expired ')}.")


def _count(selection: "Selection") -> int:
    async def count(sessions: "Sessions") -> int:
        from cartapp.session.admin import estimate

        bar.total = await estimate(sessions) if sys.stderr.isatty() else None
        return await selection.count(sessions, bar)

    with output.progress("Counting") as bar:
        return with_sessions(count)


async def _end_all(
    selection: "Selection", rate: int | None, sessions: "Sessions", bar: output.ProgressBar
) -> int:
    if bar.total is None and sys.stderr.isatty():
        bar.total = await selection.estimate(sessions)
    return await selection.end(sessions, bar, rate)


def _run(
    description: str,
    selected: str,
    total: int | None,
    operation: "Callable[[Sessions, output.ProgressBar], Awaitable[int]]",
    account: "User | None" = None,
) -> int:
    """Run an operation with a progress bar, after the log-out of an account, and write it to the audit log.

    The audit line is written even if the operation fails or is interrupted.
    """
    from cartapp.settings import SettingsError

    logged_out = None
    with output.progress(description) as bar:
        bar.total = total
        try:
            if account is not None:
                with_users(lambda users: users.log_out(account.email))
                logged_out = True
            number = with_sessions(lambda sessions: operation(sessions, bar))
        except BaseException as error:
            if logged_out or not isinstance(error, SettingsError):  # which precedes any change
                audit.record(
                    "sessions purge",
                    selected=selected,
                    logged_out=logged_out,
                    ended=bar.count,
                    completed=False,
                )
            bar.close()
            _report_stop(bar.count, account if logged_out else None, error)
            raise
    audit.record("sessions purge", selected=selected, logged_out=logged_out, ended=number)
    return number


def _report_stop(ended: int, logged_out: "User | None", error: BaseException) -> None:
    """Report what was done before an error."""
    if logged_out is not None:
        output.print_notice(
            f"{logged_out.email} is logged out everywhere, on remembered devices too. "
            "Records of the sessions may remain until they expire."
        )
    if ended or isinstance(error, KeyboardInterrupt):
        output.print_notice(f"Stopped after {_sessions(ended)}. Repeat the command to continue.")


def _sessions(number: int, adjective: str = "") -> str:
    return f"{number} {adjective}{'session' if number == 1 else 'sessions'}"
