"""What requests may do to a session, one after the other: the promises as a small sequential machine.

The state says of each session ID what it is. S is the ID at the start and T the one that replaced it before
the requests came, if any; an ID that a request makes has that request's name. A concurrent run is right when
its requests, in some order that respects real time, could have run one after the other like this (`check`).

Two rules need real time as well. A change that meets an ID given up, or a session ended, is refused with
SessionEnded only when the request may have loaded the session before that (`may_have_seen`). A request that
comes afterwards finds a tombstone, which reads as an empty session, or no session, and may begin a new one.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .requests import END, LOG_INS, LineMissing, Request, Response, add, change, shown

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Live:
    """The ID of a session, with its data and its user; None is a guest."""

    data: Data
    user: str | None


@dataclass(frozen=True)
class Moved:
    """An ID that was given up: a tombstone, which names the ID that replaced it."""

    to: str
    kept_user: bool
    by: str


@dataclass(frozen=True)
class Ended:
    """The ID of a session that was ended."""

    by: str


State = Mapping[str, Live | Moved | Ended]
Outcome = tuple[Response, State]
MayHaveSeen = Callable[[str], bool]
"""Whether the request may have loaded the session before another request, named here, ended or rotated it."""

REFUSED = Response("SessionEnded")
EMPTY = Live({}, None)


def outcomes(request: Request, state: State, cookie: str, may_have_seen: MayHaveSeen) -> Iterator[Outcome]:
    """The responses that a request may get in this state, each with the state after it.

    `cookie` is the name of the ID with which the request comes.
    """
    if request.kind == END:
        yield _end(request, state, cookie)
    elif request.kind in LOG_INS:
        yield _log_in(request, state, cookie)
    elif request.kind == "destroy":
        yield _destroy(request, state, cookie)
    else:
        yield from _plain(request, state, cookie, may_have_seen)


# -- plain requests ---------------------------------------------------------------------------------------

CREATES = ("modify", "set_light", "set_dark")
"""The kinds that begin a session where there is none."""

READS = ("read", "take_flash")
"""The kinds that show a tombstone's empty session. It refuses all others, those included that would find
nothing to do there, or that their change is not possible: that is known of a live session only.
"""


def _plain(request: Request, state: State, cookie: str, may_have_seen: MayHaveSeen) -> Iterator[Outcome]:
    node = state[cookie]
    if isinstance(node, Live):
        yield _applied(request, node, state, cookie)
        return
    tombstone_refuses = isinstance(node, Moved) and request.kind not in READS
    if tombstone_refuses or (request.kind != "read" and may_have_seen(node.by)):
        yield REFUSED, state
    if not tombstone_refuses:
        yield _on_nothing(request, state)


def _applied(request: Request, node: Live, state: State, cookie: str) -> Outcome:
    if request.kind == "rotate":
        moved = Moved(request.name, kept_user=True, by=request.name)
        return _shows(node, cookie="set"), {**state, cookie: moved, request.name: node}
    try:
        result, changed = _change(request.kind, node)
    except LineMissing as error:
        return Response(type(error).__name__), state
    return _shows(changed, result), {**state, cookie: changed}


def _on_nothing(request: Request, state: State) -> Outcome:
    try:
        result, changed = _change(request.kind, EMPTY)
    except LineMissing as error:
        return Response(type(error).__name__), state
    if request.kind not in CREATES:
        return _shows(EMPTY, result), state
    return _shows(changed, result, cookie="set"), {**state, request.name: changed}


def _change(kind: str, node: Live) -> tuple[object, Live]:
    """The result of a plain request, and the session after it. Raises what the handler's change raises."""
    data: dict[str, Any] = copy.deepcopy(dict(node.data))
    result = None
    if kind == "clear":
        return None, EMPTY
    if kind == "modify":
        data["count"] = add(data.get("count", 0))
    elif kind == "update":
        data["count"] = change(data.get("count"))
    elif kind in ("set_light", "set_dark"):
        data["theme"] = kind.removeprefix("set_")
    elif kind == "delete":
        data.pop("theme", None)
    elif kind == "take_flash" and "_flash" in data:
        [(result, _category)] = data.pop("_flash")["note"]
    return result, Live(data, node.user)


# -- log-in, destroy, end ---------------------------------------------------------------------------------


def _log_in(request: Request, state: State, cookie: str) -> Outcome:
    """Always a new ID. It takes over the session of its cookie, or a successor of the same user."""
    user, name = LOG_INS[request.kind], request.name
    source, _ = successor(state, cookie)
    node = state[source]
    after = dict(state)
    data: Data = {}
    if isinstance(node, Live) and (source == cookie or node.user == user):
        data = node.data
        after[source] = Moved(name, kept_user=node.user == user, by=name)
    after[name] = Live({**data, "by": name}, user)
    return _shows(after[name], cookie="set"), after


def _destroy(request: Request, state: State, cookie: str) -> Outcome:
    """End the session, or the successor while it has the same user; only the former clears the cookie."""
    source, kept_user = successor(state, cookie)
    if not isinstance(state[source], Live) or not kept_user:
        return _shows(EMPTY), state
    cleared = "cleared" if source == cookie else None
    return _shows(EMPTY, cookie=cleared), {**state, source: Ended(request.name)}


def _end(request: Request, state: State, cookie: str) -> Outcome:
    """End the session, under whatever ID it goes on, and return whether there was one."""
    source, _ = successor(state, cookie)
    if not isinstance(state[source], Live):
        return Response(result=False), state
    return Response(result=True), {**state, source: Ended(request.name)}


def successor(state: State, name: str) -> tuple[str, bool]:
    """The last ID to which a session moved, and whether each rotation kept the user."""
    kept_user = True
    while isinstance(node := state[name], Moved):
        name, kept_user = node.to, kept_user and node.kept_user
    return name, kept_user


def _shows(node: Live | Moved | Ended, result: object = None, cookie: str | None = None) -> Response:
    assert isinstance(node, Live)
    return Response(None, result, shown(node.data, node.user), cookie)
