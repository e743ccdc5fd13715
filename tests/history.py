"""A checker for recorded histories of the shop: is every acknowledged response true?

A history is the list of one person's calls: the requests of one browser, of all its tabs, and of the person's
other devices. Each call has the cookie that it sent, the moments at which it began and ended, and what the
response said. The rule is linearizability: there must be an order of all calls that keeps the order of any
two calls of which one ended before the other began, and in which each response is what `shop_model` says at
that place. A call without a response (the connection broke, or 503) may take effect at any moment after it
began, or never.

The check goes through the beginnings and ends in the order of time and keeps every state that the calls so
far allow (just-in-time linearization: Lowe, "Testing for linearizability", 2017). When an end leaves no
state, that response is false; it is reported, and the check goes on as if it had changed nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from .shop_model import READS, SPECIAL, Call, State, live_content, outcomes, perform

Kind = Literal["lost", "doubled", "false 404", "false 409", "revived", "false cookie", "untrue"]
"""What a false response is a sign of; `untrue` is everything else."""


class Violation(NamedTuple):
    """A false response, and what would have been true."""

    kind: Kind
    call: Call
    possible: frozenset[object]
    """The status and the shown value of a plain call in each possible state."""
    around: tuple[Call, ...]
    """The calls that overlapped it, and every rotation and end, of the same session."""

    def __str__(self) -> str:
        lines = [f"{self.kind}: possible were {sorted(self.possible, key=str)}"]
        for call in self.around:
            times = f"{call.began - self.call.began:+.3f} to {call.ended - self.call.began:+.3f}"
            sent, received = [text and text[:6] for text in (call.sent, call.received)]
            said = f"{call.status} {call.shown}" + (f", sets {received!r}" if received is not None else "")
            mark = "  <---" if call is self.call else ""
            lines.append(f"  {times} {sent} {call.act} {call.args}: {said}{mark}")
        return "\n".join(lines)


_Config = tuple[State, frozenset[int]]
"""A possible state, and which of the calls in flight have already taken effect in it."""


def check(calls: Sequence[Call]) -> list[Violation]:
    """The false responses of one person's history, in the order of time; at most one of each session.

    What follows a false response may be its consequence, under another ID after a rotation as well.
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
            before, reached = possible, _reached(calls, pending, possible, number)
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


def _reached(calls: Sequence[Call], pending: set[int], possible: set[_Config], until: int) -> set[_Config]:
    """What the calls in flight may lead to, in any order; nothing follows where call `until` is in effect.

    A call that changes nothing in any state is given its place at once where its response is true: a later
    place would leave the others the same choices.
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
        return Violation(_kind_of_status(call), call, frozenset(), around)
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


def _kind_of_status(call: Call) -> Kind:
    return "false 404" if call.status == 404 else "false 409" if call.status == 409 else "untrue"


def _kind(call: Call, possible: Sequence[object], *, is_live: bool, may_be_dead: bool) -> Kind:
    """For an ID that is not live, `possible` is what an empty session shows."""
    if call.status != 200:
        return _kind_of_status(call)
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
