"""Linearizability: check that some order of the requests, consistent with real time, explains a history.

A request with an unknown outcome may have taken effect once, at any time after its start, or not at all.
"""

from collections.abc import Iterator

from tests.session.explorer.history import DEAD, MOVED, UNNAMED, History, Operation
from tests.session.explorer.requests import Response, shown
from tests.session.explorer.spec import Live, Outcome, State, outcomes, successor


def is_explained(history: History, state: State) -> bool:
    """Return whether the specification allows the history from this state."""
    return not history.final.faults and _explains(history, state, history.operations)


def _explains(history: History, state: State, left: tuple[Operation, ...]) -> bool:
    if all(operation.is_unknown for operation in left) and not differences(history, state):
        return True
    for operation in next_ones(left):
        rest = tuple(other for other in left if other is not operation)
        for response, after in outcomes_of(history, operation, state):
            if agrees(operation, response) and _explains(history, after, rest):
                return True
    return False


def next_ones(left: tuple[Operation, ...]) -> Iterator[Operation]:
    """Return the operations that can be next: no other must precede them."""
    known = {operation.request.name for operation in left if not operation.is_unknown}
    return (operation for operation in left if known.isdisjoint(operation.before))


def outcomes_of(history: History, operation: Operation, state: State) -> Iterator[Outcome]:
    """Return the outcomes that the specification allows an operation in this state."""
    unknown = {each.request.name for each in history.operations if each.is_unknown}

    def may_have_seen(by: str) -> bool:
        return by != "start" and (by in unknown or by not in operation.before)

    return outcomes(operation.request, state, operation.cookie, may_have_seen)


def agrees(operation: Operation, allowed: Response) -> bool:
    """Return whether a response matches the allowed one; of an unknown one only the cookie counts."""
    seen = operation.response
    if seen is None:
        return True
    return seen.cookie in (None, allowed.cookie) if operation.is_unknown else seen == allowed


def differences(history: History, state: State) -> list[str]:
    """Compare the final store contents with this state."""
    final = history.final
    known = dict(final.ids)
    found = [
        f"{name} is {what}, expected {_expected(state, name)}"
        for name, what in known.items()
        if not _is(what, _expected(state, name))
    ]
    unnamed = [
        shown(node.data, node.user)
        for name, node in state.items()
        if isinstance(node, Live) and name not in known
    ]
    missing, orphans = _minus(unnamed, final.others), _minus(final.others, unnamed)
    found += [f"the session {text} of a lost response is missing" for text in missing]
    if history.is_undisturbed:
        found += [f"the session {text} is reached by no cookie" for text in orphans]
    found += [
        f"the session {text} is still reached by no cookie after a minute"
        for text in _minus(final.later, unnamed)
    ]
    return found


def _expected(state: State, name: str) -> str:
    if name not in state:
        return DEAD  # the ID of a request without effect
    last, _ = successor(state, name)
    node = state[last]
    if not isinstance(node, Live):
        return DEAD
    return shown(node.data, node.user) if last == name else MOVED + shown(node.data, node.user)


def _is(what: str, expected: str) -> bool:
    if what == UNNAMED:
        return expected == DEAD or expected.startswith(MOVED)
    return what == expected


def _minus(texts: tuple[str, ...] | list[str], others: tuple[str, ...] | list[str]) -> list[str]:
    left = list(texts)
    for text in others:
        if text in left:
            left.remove(text)
    return left
