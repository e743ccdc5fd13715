"""`cart sessions purge`: ends sessions, and removes what has expired."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from . import output
from .opened import with_sessions

if TYPE_CHECKING:
    from ..session.sessions import Sessions

# A handle may begin with a dash, so what is no option of ours is taken as an argument; see `refuse_options`.
HANDLES = {"ignore_unknown_options": True}

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """A time such as `7d`: a whole number of seconds, minutes, hours, days or weeks."""
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text)
    if not found:
        raise typer.BadParameter("a time such as 90s, 30m, 12h, 7d or 2w is wanted")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def refuse_options(handles: Sequence[str]) -> None:
    """Tell mistyped options from handles that begin with a dash."""
    for handle in handles:
        if handle.startswith("--") and len(handle) < 22:
            raise typer.BadParameter(f"There is no option {handle}.")


def purge(
    handles: Annotated[
        list[str] | None, typer.Argument(metavar="HANDLE", help="These sessions; beginnings will do.")
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="What has expired; no visitor notices, so nothing is asked.")
    ] = False,
    idle: Annotated[
        timedelta | None,
        typer.Option(
            "--idle", parser=duration, metavar="TIME", help="All not used for so long: 30m, 12h, 7d."
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="ID", help="All of this user; `cart users list` has the ID."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many it would be.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End sessions: the named ones, or those that one of the options chooses."""
    handles = handles or []
    refuse_options(handles)
    if sum((bool(handles), expired, idle is not None, user is not None, everything)) != 1:
        raise typer.BadParameter("Exactly one of --expired, --idle, --user, --all and HANDLE is wanted.")
    if expired:
        _remove_expired(dry_run=dry_run)
        return
    selection = _selection(handles, idle, user)
    with output.progress("Counting"):
        found = with_sessions(selection.count)
    if dry_run or not found:
        output.say(f"{_sessions(found)} would be ended." if found else "There is no session to end.")
        return
    output.confirm(f"End {_sessions(found)} {selection.words}?", yes=yes)
    with output.progress("Ending"):
        ended = with_sessions(selection.end)
    output.say(f"{_sessions(ended)} ended.")


class _Selection(Protocol):
    words: str

    async def count(self, sessions: "Sessions") -> int: ...

    async def end(self, sessions: "Sessions") -> int: ...


class _Named:
    def __init__(self, beginnings: Sequence[str]) -> None:
        self.words = "by name"
        self._beginnings = beginnings
        self._handles: list[str] = []

    async def count(self, sessions: "Sessions") -> int:
        from ..session.survey import find_one

        found = [(await find_one(sessions, text)).handle for text in self._beginnings]
        self._handles = list(dict.fromkeys(found))
        return len(self._handles)

    async def end(self, sessions: "Sessions") -> int:
        return sum([await sessions.end(handle) for handle in self._handles])


class _Idle:
    def __init__(self, idle: timedelta) -> None:
        from ..settings import load

        self.words = f"not used for {str(idle).removesuffix(', 0:00:00')}"
        self._idle = idle
        self._step = timedelta(seconds=load().session_ttl / 10)

    async def count(self, sessions: "Sessions") -> int:
        return await sessions.end_idle(self._idle, step=self._step, dry_run=True)

    async def end(self, sessions: "Sessions") -> int:
        return await sessions.end_idle(self._idle, step=self._step)


class _OfUser:
    def __init__(self, user: str | None) -> None:
        self.words = "of everybody" if user is None else f"of the user {user}"
        self._user = user

    async def count(self, sessions: "Sessions") -> int:
        number = 0
        async for _ in sessions.find(self._user):
            number += 1
        return number

    async def end(self, sessions: "Sessions") -> int:
        return await (sessions.clear() if self._user is None else sessions.end_user(self._user))


def _selection(handles: Sequence[str], idle: timedelta | None, user: str | None) -> _Selection:
    if handles:
        return _Named(handles)
    return _OfUser(user) if idle is None else _Idle(idle)


def _remove_expired(*, dry_run: bool) -> None:
    if dry_run:
        found = with_sessions(lambda sessions: sessions.count_expired())
        output.say(f"{_sessions(found)} would be removed.")
        return
    with output.progress("Removing"):
        removed = with_sessions(lambda sessions: sessions.purge())
    output.say(f"{_sessions(removed)} had expired and {'was' if removed == 1 else 'were'} removed.")


def _sessions(number: int) -> str:
    return f"{number} session" if number == 1 else f"{number} sessions"
