"""The shortest failing run: the fewest disturbances and changes from one request to another, then steps.

The search in `search` meets one of each class of equal runs, in no useful order. This one tries runs by the
number of their changes, which is what makes a schedule hard to read, and stops at the first that fails.
"""

import math
from collections.abc import Callable, Iterator

from .history import History, observe
from .run import Run, Step, StoreMaker, memory_store
from .scenario import Scenario
from .search import Schedule

_LIMIT = 20_000
"""Runs that are tried before the best known schedule is good enough."""


def shorten(
    scenario: Scenario,
    known: Schedule,
    fails: Callable[[History], bool],
    make_store: StoreMaker = memory_store,
) -> Schedule:
    """The shortest failing schedule, or the known one if that takes too long to find."""
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
    """Count the disturbances of a schedule, and its changes from one request to another."""
    return sum(map(_cost, [None, *schedule], schedule))


def _cost(before: Step | None, step: Step) -> int:
    changes = before is not None and before.request != step.request
    return changes + (step.action not in ("go", "effect"))


def runs(scenario: Scenario, cost: float = math.inf, make_store: StoreMaker = memory_store) -> Iterator[Run]:
    """Every run that costs no more, some of them equal."""
    path: list[list[Step]] = []  # at each point the steps that are left to try, the present one first
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
