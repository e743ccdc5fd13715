"""A sequential model of the shop's sessions: the response to each call and the state after it.

The model maps each session ID to its content or to a tombstone left by a rotation. Any other ID is unknown,
as before its creation and after its end.

- A plain call with a live ID acts on its content and shows the result. Changing or removing a product that is
  not in the cart is 404.
- Logging in and clearing rotate: the response sets a new ID with the content (empty after a clear), and the
  old ID becomes a tombstone. Logging out, or ending from another device, makes the ID unknown.
- An ID that is not live reads as an empty session. A write with it is 409, even one that would change nothing
  or is impossible on an empty session. With an unknown ID or without a cookie, a write may create a session
  under an ID set by the response. A tombstone may become unknown after a minute. So 409 is true only after,
  or concurrent with, a rotation or an end.
- A log-in with a tombstone's ID may take over the content of the live successor, which ends. It starts empty
  only if no successor has a user. Ending a tombstone's session ends its successor; a log-out with a
  tombstone's ID may do so.
- No other response sets a cookie, and only a log-out that ended the session may clear it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Value = int | str
Content = tuple[tuple[Value, Value], ...]
"""Sorted session content: quantities by product number and other values by name."""

Act = Literal[
    "add", "set", "remove", "empty", "cart",
    "visit", "prefer", "forget", "preferences",
    "log in", "log out", "clear", "end",
]  # fmt: skip

DEFAULTS: Mapping[str, Value] = {"language": "en", "theme": "light", "items_per_page": 20}
"""Preferences of a session without stored preferences."""

TOMBSTONE_LIFETIME = 60.0
"""Minimum lifetime of a tombstone, in seconds."""

READS = ("cart", "preferences")
"""Calls that change nothing."""


@dataclass(frozen=True)
class Call:
    """A request and its response."""

    act: Act
    sent: str | None
    """Session ID in the request; None without a cookie."""
    began: float
    ended: float = math.inf
    status: int | None = None
    """Response status; None if no response confirmed the outcome."""
    shown: Any = None
    """The cart's sorted pairs, the number of visits, the preferences, or None for other calls."""
    received: str | None = None
    """Session ID set by the response; empty if it cleared the cookie."""
    args: tuple[Value, ...] = ()
    """A product and perhaps a quantity, preferences in the order of `DEFAULTS`, or the ID to end."""


@dataclass(frozen=True)
class Tombstone:
    """A rotated session ID; the session continues as `successor`, if that ID is known."""

    successor: str | None
    since: float


Sessions = dict[str, Content | Tombstone]
State = frozenset[tuple[str, Content | Tombstone]]
"""`Sessions` that can be an element of a set."""


class _Outcome(NamedTuple):
    """A true response, and the sessions afterwards."""

    status: int
    sessions: Sessions
    shown: object = None
    new: Content | None = None
    """Content of the session under an ID set by the response."""
    may_clear: bool = False
    """Whether the response may remove the cookie."""


def perform(act: Act, args: Sequence[Value], content: Content) -> tuple[int, object, Content]:
    """Return status, shown value and resulting content of a plain call."""
    data = dict(content)
    if act in ("set", "remove") and args[0] not in data:
        return 404, None, content
    if act == "add":
        data[args[0]] = int(data.get(args[0], 0)) + int(args[1])
    elif act == "set" and args[1]:
        data[args[0]] = args[1]
    elif act in ("set", "remove", "forget"):
        data.pop(args[0], None)
    elif act == "empty":
        data = {key: value for key, value in data.items() if isinstance(key, str)}
    elif act == "visit":
        data["visits"] = int(data.get("visits", 0)) + 1
    elif act == "prefer":
        data |= dict(zip(DEFAULTS, args, strict=True))
    return 200, _shown(act, data), _content(data)


def _shown(act: Act, data: dict[Value, Value]) -> object:
    if act in ("add", "set", "remove", "empty", "cart"):
        return tuple(sorted((key, value) for key, value in data.items() if isinstance(key, int)))
    if act in ("prefer", "preferences"):
        return tuple(data.get(name, default) for name, default in DEFAULTS.items())
    return data["visits"] if act == "visit" else None


def _content(data: Mapping[Value, Value]) -> Content:
    return tuple(sorted(data.items(), key=lambda item: str(item[0])))


def live_content(state: State, session_id: str | None) -> Content | None:
    """Return the content of a live session; None if the ID is not live."""
    here = dict(state).get(session_id or "")
    return here if isinstance(here, tuple) else None


def outcomes(call: Call, state: State) -> Iterator[State]:
    """Yield every state after the call in which its response is true."""
    for outcome in SPECIAL.get(call.act, _plain)(call, dict(state)):
        if call.status is None or _is_true(call, outcome):
            new = {call.received: outcome.new} if outcome.new is not None and call.received else {}
            yield frozenset({**outcome.sessions, **new}.items())


def _is_true(call: Call, outcome: _Outcome) -> bool:
    if (call.status, call.shown) != (outcome.status, outcome.shown):
        return False
    if outcome.new is not None:
        return bool(call.received) and call.received not in outcome.sessions
    return call.received is None or (call.received == "" and outcome.may_clear)


def _plain(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    here = sessions.get(call.sent or "")
    status, shown, after = perform(call.act, call.args, here if isinstance(here, tuple) else ())
    if isinstance(here, tuple):
        yield _Outcome(status, {**sessions, str(call.sent): after}, shown)
    elif call.act in READS:
        yield _Outcome(status, sessions, shown)
    elif _may_be_unknown(call, sessions):
        yield _Outcome(status, sessions, shown, new=after or None)
    yield from _conflict(call, sessions)


def _log_in(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    here, last = sessions.get(call.sent or ""), _last(call.sent, sessions)
    if isinstance(here, tuple):
        yield _rotate(call, sessions, str(call.sent), here)
        return
    if last is not None and "user" in dict(_live(sessions, last)):
        yield _rotate(call, sessions, last, _live(sessions, last), since=-math.inf)
        if _may_be_unknown(call, sessions):
            yield _Outcome(200, sessions, new=(("user", 1),))
    else:
        yield _Outcome(200, sessions, new=(("user", 1),))
    yield from _conflict(call, sessions)


def _rotate(
    call: Call, sessions: Sessions, old: str, content: Content, since: float | None = None
) -> _Outcome:
    """Move the content to the new ID with a user; `since=-inf` means the tombstone may have expired."""
    tombstone = Tombstone(call.received, call.began if since is None else since)
    return _Outcome(200, {**sessions, old: tombstone}, new=_content({**dict(content), "user": 1}))


def _clear(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    """Clear the session under a new ID; end the successor if another request rotated it."""
    here, last = sessions.get(call.sent or ""), _last(call.sent, sessions)
    if isinstance(here, tuple):
        tombstone = Tombstone(call.received, call.began)
        yield _Outcome(200, {**sessions, str(call.sent): tombstone}, new=())
        if "user" in dict(_live(sessions, call.sent or "")):
            # The log-in ends first; a concurrent request that finds it ended removes the session.
            yield _Outcome(200, _without(sessions, call.sent))
    else:
        yield _Outcome(200, sessions)
        if last is not None:
            yield _Outcome(200, _without(sessions, last))
    yield from _conflict(call, sessions)


def _log_out(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    here, last = sessions.get(call.sent or ""), _last(call.sent, sessions)
    if isinstance(here, tuple):
        yield _Outcome(200, _without(sessions, call.sent), may_clear=True)
        return
    yield _Outcome(200, sessions)
    if last is not None:
        yield _Outcome(200, _without(sessions, last))
    yield from _conflict(call, sessions)


def _end(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    """End another session of the same user by its handle."""
    if "user" not in dict(_live(sessions, call.sent or "")):
        yield _Outcome(401, sessions)
        return
    target = str(call.args[0])
    last = _last(target, sessions)
    if last is None:
        yield _Outcome(200, sessions)  # another request ended it concurrently
    elif "user" in dict(_live(sessions, last)):
        yield _Outcome(200, _without(sessions, last))
    else:
        yield _Outcome(200, _without(sessions, last))
        yield _Outcome(200, sessions)
    if last != target or "user" not in dict(_live(sessions, target)):
        yield _Outcome(404, sessions)


SPECIAL = {"log in": _log_in, "log out": _log_out, "clear": _clear, "end": _end}
"""Calls that rotate or end a session; all others are plain."""


def _conflict(call: Call, sessions: Sessions) -> Iterator[_Outcome]:
    is_live = isinstance(sessions.get(call.sent or ""), tuple)
    if call.sent is not None and not is_live and call.act not in READS:
        yield _Outcome(409, sessions)


def _may_be_unknown(call: Call, sessions: Sessions) -> bool:
    here = sessions.get(call.sent or "")
    return not isinstance(here, Tombstone) or call.ended - here.since >= TOMBSTONE_LIFETIME


def _last(session_id: str | None, sessions: Sessions) -> str | None:
    """Return the live session at the end of a chain of tombstones."""
    here = sessions.get(session_id or "")
    while isinstance(here, Tombstone):
        session_id = here.successor
        here = sessions.get(session_id or "")
    return session_id if isinstance(here, tuple) else None


def _live(sessions: Sessions, session_id: str) -> Content:
    here = sessions.get(session_id)
    return here if isinstance(here, tuple) else ()


def _without(sessions: Sessions, session_id: str | None) -> Sessions:
    return {key: value for key, value in sessions.items() if key != session_id}
