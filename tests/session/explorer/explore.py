"""Explore scenarios: check the history of every run, and describe the shortest run that fails."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from random import getstate, setstate

from tests.session.explorer.check import is_explained
from tests.session.explorer.history import History, observe
from tests.session.explorer.report import describe
from tests.session.explorer.run import StoreMaker, memory_store
from tests.session.explorer.scenario import Scenario, prepare
from tests.session.explorer.search import Schedule, replay, schedules
from tests.session.explorer.shortest import runs, shorten

_LIMIT = 5_000
"""Limit of schedules per scenario; beyond it, only schedules with few context switches are explored."""


@dataclass
class Tally:
    """Totals of an exploration.

    `bounded` counts the scenarios too large for a complete search (see `_LIMIT`), and `violations` has a
    description for each scenario with a run that fails.
    """

    scenarios: int = 0
    schedules: int = 0
    histories: int = 0
    bounded: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.scenarios} scenarios, {self.schedules} schedules, {self.histories} different histories, "
            f"{self.bounded} scenarios bounded, {len(self.violations)} with a violation"
        )


def explore(
    scenarios: Iterable[Scenario], make_store: StoreMaker = memory_store, *, stop_after: int = 1
) -> Tally:
    """Explore the scenarios until this number of them has failed."""
    tally = Tally()
    with _undisturbing():
        for scenario in scenarios:
            _explore(scenario, make_store, tally)
            if len(tally.violations) == stop_after:
                break
    return tally


def _explore(scenario: Scenario, make_store: StoreMaker, tally: Tally) -> None:
    state = prepare(scenario.start).state
    verdicts: dict[History, bool] = {}

    def fails(history: History) -> bool:
        if history not in verdicts:
            verdicts[history] = not is_explained(history, state)
        return verdicts[history]

    tally.scenarios += 1
    for schedule, history in _runs(scenario, make_store, tally):
        tally.schedules += 1
        if fails(history):
            shortest = shorten(scenario, schedule, fails, make_store)
            run = replay(scenario, shortest, make_store)
            tally.violations.append(describe(run, observe(run), allowed=False))
            break
    tally.histories += len(verdicts)


def _runs(scenario: Scenario, make_store: StoreMaker, tally: Tally) -> Iterator[tuple[Schedule, History]]:
    yield from islice(everything := schedules(scenario, make_store), _LIMIT)
    if next(everything, None) is None:
        return
    tally.bounded += 1
    for run in runs(scenario, len(scenario.requests), make_store):
        yield run.schedule, observe(run)


def run_schedule(scenario: Scenario, schedule: Schedule) -> tuple[bool, str]:
    """Run one schedule; return whether the specification allows it, and its description."""
    with _undisturbing():
        run = replay(scenario, schedule)
        history = observe(run)
    allowed = is_explained(history, prepare(scenario.start).state)
    return allowed, describe(run, history, allowed=allowed)


@contextmanager
def _undisturbing() -> Iterator[None]:
    """Disable logging, and restore the random generator, which each run seeds."""
    state = getstate()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        setstate(state)
