"""The specification: the promises as a small sequential machine.

The state maps each session ID to what it is. S is the ID at the start and T the one that replaced it before
the requests, if any; an ID created by a request has the name of that request. A concurrent run is correct if
its requests, in some order consistent with real time, could have run one after the other (`check`).

Two rules need real time as well. A change of a rotated or ended session is rejected with
SessionEnded only if the request may have loaded the session before that (`may_have_seen`). A later request
finds a tombstone, which reads as an empty session, or no session, and may create a new one.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.session.explorer.requests import END, LOG_INS, LineMissing, Request, Response, add, change, shown

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Live:
    """The ID of a session with its data and its user (None: a guest)."""

    data: Data
    user: str | None


@dataclass(frozen=True)
class Moved:
    """A rotated ID: a tombstone with its successor."""

    to: str
    kept_user: bool
    by: str


@dataclass(frozen=True)
class Ended:
    """The ID of an ended session."""

    by: str


State = Mapping[str, Live | Moved | Ended]
Outcome = tuple[Response, State]
MayHaveSeen = Callable[[str], bool]
"""Whether the request may have loaded the session before the named request ended or rotated it."""

REFUSED = Response("SessionEnded")
EMPTY = Live({}, None)


def outcomes(request: Request, state: State, cookie: str, may_have_seen: MayHaveSeen) -> Iterator[Outcome]:
    """Yield the allowed responses to a request in this state, each with the next state.

    `cookie` is the name of the ID in the request's cookie.
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
"""The kinds that create a session if there is none."""

READS = ("read", "take_flash")
"""The kinds that show a tombstone's empty session. It rejects all others, also those that would find
nothing to do, or an impossible change: only a live session can decide that.
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
    """Return the result of a plain request and the next session. Raises the error of its handler."""
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
    """Log in under a new ID, taking over the session of the cookie or a successor of the same user."""
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
    """End the session, or its successor of the same user; only the former clears the cookie."""
    source, kept_user = successor(state, cookie)
    if not isinstance(state[source], Live) or not kept_user:
        return _shows(EMPTY), state
    cleared = "cleared" if source == cookie else None
    return _shows(EMPTY, cookie=cleared), {**state, source: Ended(request.name)}


def _end(request: Request, state: State, cookie: str) -> Outcome:
    """End the session, also under a new ID; return whether it existed."""
    source, _ = successor(state, cookie)
    if not isinstance(state[source], Live):
        return Response(result=False), state
    return Response(result=True), {**state, source: Ended(request.name)}


def successor(state: State, name: str) -> tuple[str, bool]:
    """Return the last ID of a session, and whether each rotation kept the user."""
    kept_user = True
    while isinstance(node := state[name], Moved):
        name, kept_user = node.to, kept_user and node.kept_user
    return name, kept_user


def _shows(node: Live | Moved | Ended, result: object = None, cookie: str | None = None) -> Response:
    assert isinstance(node, Live)
    return Response(None, result, shown(node.data, node.user), cookie)
