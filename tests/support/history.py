"""Linearizability checker for recorded histories of the shop.

A history is the list of one user's calls: requests of all tabs of a browser and of other devices. Each call
has the cookie sent, its start and end time, and the content of the response. A history is correct if all
calls can be ordered so that any call that ended before another began precedes it, and each response is the
one that `sequential_model` gives at its position. A call without a response (connection lost, or 503) may
take effect at any time after its start, or never.

The checker walks through starts and ends in time order and keeps every state that the calls so far allow
(just-in-time linearization: Lowe, "Testing for linearizability", 2017). If an end leaves no state, its
response is false. The checker reports it and continues as if the call had changed nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from tests.support.sequential_model import READS, SPECIAL, Call, State, live_content, outcomes, perform

Kind = Literal["lost", "doubled", "false 404", "false 409", "revived", "false cookie", "untrue"]
"""Kind of error that a false response indicates; `untrue` is any other."""


class Violation(NamedTuple):
    """A false response with the responses that would have been correct."""

    kind: Kind
    call: Call
    possible: frozenset[object]
    """Status and shown value of a plain call in each possible state."""
    around: tuple[Call, ...]
    """Overlapping calls, rotations and ends of the same session."""

    def __str__(self) -> str:
        lines = [f"{self.kind}: possible were {sorted(self.possible, key=str)}"]
        for call in self.around:
            times = f"{call.began - self.call.began:+.3f} to {call.ended - self.call.began:+.3f}"
            sent, received = [text and text[:6] for text in (call.sent, call.received)]
            response = f"{call.status} {call.shown}"
            response += f", sets {received!r}" if received is not None else ""
            mark = "  <---" if call is self.call else ""
            lines.append(f"  {times} {sent} {call.act} {call.args}: {response}{mark}")
        return "\n".join(lines)


_Config = tuple[State, frozenset[int]]
"""A possible state with the calls in flight that have already taken effect in it."""


def check(calls: Sequence[Call]) -> list[Violation]:
    """Return the false responses of one user's history in time order, at most one per session.

    Later false responses, including those under another ID after a rotation, may be consequences of the
    first.
    """
    events = sorted(
        [(call.began, 0, number) for number, call in enumerate(calls)]
        + [(call.ended, 1, number) for number, call in enumerate(calls) if call.status is not None]
    )
    possible: set[_Config] = {(frozenset(), frozenset())}
    pending: set[int] = set()
    broken: set[object] = set()
    violations = []
    for _, is_end, number in events:
        if not is_end:
            pending.add(number)
            continue
        call = calls[number]
        ids = {call.sent, *(call.args if call.act == "end" else ())} - {None}
        if not ids & broken:
            before, reached = possible, _reachable(calls, pending, possible, number)
            possible = {config for config in reached if number in config[1]}
            if not possible:
                violations.append(_violation(call, calls, before, reached))
                broken |= ids
                possible = reached
        if ids & broken:
            broken |= {call.received} - {None}
        possible = {(state, done - {number}) for state, done in possible}
        pending.discard(number)
    return violations


def _reachable(calls: Sequence[Call], pending: set[int], possible: set[_Config], until: int) -> set[_Config]:
    """Return every configuration reachable by calls in flight, stopping where call `until` has taken effect.

    A call that changes nothing is placed as soon as its response is true: a later position would leave the
    same choices to the others.
    """
    idle = {number for number in pending if _is_idle(calls[number])}
    reached: set[_Config] = set()
    ahead = list(possible)
    while ahead:
        state, done = ahead.pop()
        done |= {number for number in idle - done if _may_be(calls[number], state)}
        if (state, done) in reached:
            continue
        reached.add((state, done))
        if until not in done:
            acting = pending - idle - done
            ahead += [(after, done | {one}) for one in acting for after in outcomes(calls[one], state)]
    return reached


def _may_be(call: Call, state: State) -> bool:
    return any(True for _ in outcomes(call, state))


def _is_idle(call: Call) -> bool:
    return call.act in READS or call.status in (401, 404, 409)


def _violation(call: Call, calls: Sequence[Call], before: set[_Config], reached: set[_Config]) -> Violation:
    around = tuple(sorted(_around(call, calls), key=lambda one: one.began))
    if call.act in SPECIAL:
        return Violation(_status_kind(call), call, frozenset(), around)
    live = {content for state, _ in reached if (content := live_content(state, call.sent)) is not None}
    possible = frozenset(perform(call.act, call.args, content)[:2] for content in live or {()})
    may_be_dead = any(live_content(state, call.sent) is None for state, _ in before)
    kind = _kind(call, [shown for _, shown in possible], is_live=bool(live), may_be_dead=may_be_dead)
    return Violation(kind, call, possible, around)


def _around(call: Call, calls: Sequence[Call]) -> Iterator[Call]:
    ids = {call.sent, call.received, *(one.sent for one in calls if one.received == call.sent)} - {None, ""}
    for other in calls:
        overlaps = other.began <= call.ended and call.began <= other.ended
        if {other.sent, other.received, *other.args} & ids and (overlaps or other.act in SPECIAL):
            yield other


def _status_kind(call: Call) -> Kind:
    return "false 404" if call.status == 404 else "false 409" if call.status == 409 else "untrue"


def _kind(call: Call, possible: Sequence[object], *, is_live: bool, may_be_dead: bool) -> Kind:
    """Classify a false response; if the ID is not live, `possible` is what an empty session shows."""
    if call.status != 200:
        return _status_kind(call)
    if not is_live and not call.received:
        return "revived"
    if call.shown in possible:
        return "false cookie"
    if call.act in ("prefer", "preferences"):
        return "lost"
    shown, amounts = _amounts(call.shown), [_amounts(one) for one in possible]
    products = {product for one in [shown, *amounts] for product in one}
    if any(all(shown.get(key, 0) < one.get(key, 0) for one in amounts) for key in products):
        return "lost"
    if may_be_dead:
        return "revived"
    if any(all(shown.get(key, 0) > one.get(key, 0) for one in amounts) for key in products):
        return "doubled"
    return "untrue"


def _amounts(shown: Any) -> dict[str, int]:
    if shown is None:
        return {}
    return {"visits": shown} if isinstance(shown, int) else {str(key): number for key, number in shown}
