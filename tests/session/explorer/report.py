"""Describe a violation: the requests, the schedule, the responses, and the allowed outcomes."""

from collections.abc import Iterator
from itertools import combinations, permutations

from cartapp.session.record import Record
from tests.session.explorer.check import agrees, differences, outcomes_of
from tests.session.explorer.history import History, Operation
from tests.session.explorer.requests import Response
from tests.session.explorer.run import Event, Run
from tests.session.explorer.scenario import prepare
from tests.session.explorer.spec import State

RESULTS = {
    "create": ("the key is taken", "stored"),
    "save": ("conflict", "stored"),
    "touch": ("conflict", "stored"),
    "delete": ("nothing deleted", "deleted"),
}
FAILURES = {
    "drop": "fails without an effect",
    "lost": "took effect, but its result is lost",
    "late": "fails, and takes effect later",
    "cancel": "cancelled",
    "cancel-late": "cancelled; its call takes effect later",
}


def describe(run: Run, history: History, *, allowed: bool) -> str:
    """Describe a finished run."""
    schedule = " ".join(map(str, run.schedule))
    operations = history.operations
    lines = [
        f"{'An' if allowed else 'No'} order of the requests explains this run of {len(run.schedule)} steps:",
        f'  python -m tests.session.explorer {run.scenario.title} --schedule "{schedule}"',
        "Requests:",
        *(f"  {each.request.name}  {each.request}, with cookie {each.cookie}" for each in operations),
        "Steps:",
        *_steps(run),
        "Responses:",
        *(f"  {each.request.name}  {_response(each.response)}" for each in operations),
        "In the end:",
        *_final(history),
    ]
    if not allowed:
        lines += ["Expected, in each order that real time allows:"]
        lines += _orders(history, prepare(run.scenario.start).state)
    return "\n".join(lines)


def _steps(run: Run) -> Iterator[str]:
    for number, event in enumerate(run.events, 1):
        text = f"  {number:>2}  {event.step.request}  {_event(run, event)}"
        yield text + "".join(f"; {name} responds" for name in event.served)


def _event(run: Run, event: Event) -> str:
    call, action = event.call, event.step.action
    if call is None:
        return "cancelled while it waits for the turn" if action.startswith("cancel") else "goes on"
    name = f"{call.name} {run.roles.get(call.key, 'new ID')}"
    if call.record is not None and call.record.is_tombstone:
        name += " (tombstone)"
    if action == "cancel" and event.was_sent:
        return f"cancelled before it gets the result of {name}"
    if action in FAILURES:
        return f"{name}: {FAILURES[action]}"
    if event.was_sent:
        return f"gets the result of {name}"
    return f"{name}: {_result(call.name, call.result)}"


def _result(name: str, result: object) -> str:
    if name == "load":
        return _record(result) if isinstance(result, Record) else "absent"
    return RESULTS[name][result not in (None, False)]


def _record(record: Record) -> str:
    return "a tombstone" if record.is_tombstone else f"{record.data.decode()} user {record.user_id}"


def _response(response: Response | None) -> str:
    if response is None:
        return "cancelled"
    parts = [response.error or "ok"]
    parts += [f"result {response.result!r}"] if response.result is not None else []
    parts += [f"shows {response.shown}"] if response.shown is not None else []
    parts += [f"cookie {response.cookie}"] if response.cookie else []
    return ", ".join(parts)


def _final(history: History) -> Iterator[str]:
    for name, what in history.final.ids:
        yield f"  {name} is {what}"
    for text in history.final.others:
        yield f"  a session with an ID that no client has: {text}"
    for text in history.final.later:
        yield f"  after a minute without use it is still there: {text}"
    for text in history.final.faults:
        yield f"  {text}"


def _orders(history: History, state: State) -> Iterator[str]:
    certain = [each for each in history.operations if not each.is_unknown]
    unknown = [each for each in history.operations if each.is_unknown]
    for count in range(len(unknown) + 1):
        for some in combinations(unknown, count):
            for order in permutations([*certain, *some]):
                if _respects_time(order):
                    names = " ".join(each.request.name for each in order)
                    yield f"  {names}: {_where_it_differs(history, order, state)}"


def _respects_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.request.name in earlier.before and not later.is_unknown
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def _where_it_differs(history: History, order: tuple[Operation, ...], state: State) -> str:
    if not order:
        return "; ".join(differences(history, state) or history.final.faults)
    operation, rest = order[0], order[1:]
    allowed = list(outcomes_of(history, operation, state))
    found = [_where_it_differs(history, rest, after) for seen, after in allowed if agrees(operation, seen)]
    if found:
        return found[0]
    responses = " or ".join(_response(response) for response, _ in allowed)
    return f"{operation.request.name} gets: {responses}"
