"""The shortest failing run: the fewest disturbances and context switches, then the fewest steps.

The search in `search` visits one of each class of equivalent runs, in no useful order. This one tries runs by
the number of context switches, which make a schedule hard to read, and stops at the first failing one.
"""

import math
from collections.abc import Callable, Iterator

from tests.session.explorer.history import History, observe
from tests.session.explorer.run import Run, Step, StoreMaker, memory_store
from tests.session.explorer.scenario import Scenario
from tests.session.explorer.search import Schedule

_LIMIT = 20_000
"""Limit of runs before the best known schedule is returned."""


def shorten(
    scenario: Scenario,
    known: Schedule,
    fails: Callable[[History], bool],
    make_store: StoreMaker = memory_store,
) -> Schedule:
    """Return the shortest failing schedule, or the known one if the search takes too long."""
    tried = 0
    for cost in range(cost_of(known)):
        failing = []
        for run in runs(scenario, cost, make_store):
            tried += 1
            if fails(observe(run)):
                failing.append(run.schedule)
            if tried > _LIMIT:
                return min([*failing, known], key=cost_of)
        if failing:
            return min(failing, key=len)
    return known


def cost_of(schedule: Schedule) -> int:
    """Count the disturbances and the context switches of a schedule."""
    return sum(map(_cost, [None, *schedule], schedule))


def _cost(before: Step | None, step: Step) -> int:
    changes = before is not None and before.request != step.request
    return changes + (step.action not in ("go", "effect"))


def runs(scenario: Scenario, cost: float = math.inf, make_store: StoreMaker = memory_store) -> Iterator[Run]:
    """Yield every run with at most this cost, some of them repeatedly."""
    path: list[list[Step]] = []  # at each point the remaining steps, the present one first
    while True:
        run = Run(scenario, make_store)
        for choices in path:
            run.do(choices[0])
        while steps := run.steps():
            affordable = [step for step in steps if cost_of((*run.schedule, step)) <= cost]
            if not affordable:
                run.abandon()
                break
            path.append(affordable)
            run.do(affordable[0])
        else:
            yield run
        while path and len(path[-1]) == 1:
            path.pop()
        if not path:
            return
        path[-1].pop(0)
