"""The search: every order of steps of a scenario, each in a new run from its start.

Orders that differ only in independent steps give the same run, and all but one of them are skipped
(Godefroid, Partial-Order Methods, 1996). With sleep sets, a step that was tried before another one
is not tried after it until a conflicting step was done. With persistent sets, other steps
need not be tried before the private steps of a request.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.session.explorer.history import History, observe
from tests.session.explorer.run import Footprint, Run, Step, StoreMaker, memory_store
from tests.session.explorer.scenario import Scenario

Schedule = tuple[Step, ...]

_ENDLESS = 500
"""Limit above the steps of any run of a few requests."""


@dataclass
class _Choice:
    """A choice of the scheduler in a run, with the steps that it need not try again."""

    steps: list[Step]
    asleep: dict[Step, Footprint]
    step: Step
    are_private: bool
    footprint: Footprint = field(default_factory=Footprint)

    @classmethod
    def among(cls, steps: list[Step], asleep: dict[Step, Footprint]) -> "_Choice | None":
        """Choose a step that is not asleep, or None; all steps of its request come first."""
        awake = [step for step in steps if step not in asleep]
        if not awake:
            return None
        first = awake[0].request
        awake.sort(key=lambda step: step.request != first)
        return cls(awake, asleep, awake[0], all(step.request != first for step in asleep))

    def next_step(self) -> bool:
        """Move to the next remaining step; return False without one."""
        self.asleep[self.step] = self.footprint
        self.are_private = self.are_private and self.footprint.is_private
        left = [step for step in self.steps if step not in self.asleep]
        if not left or (self.are_private and left[0].request != self.step.request):
            return False
        self.step = left[0]
        return True

    def asleep_after(self) -> dict[Step, Footprint]:
        return {
            step: footprint
            for step, footprint in self.asleep.items()
            if step.request != self.step.request and not footprint.conflicts(self.footprint)
        }


def schedules(
    scenario: Scenario, make_store: StoreMaker = memory_store
) -> Iterator[tuple[Schedule, History]]:
    """Yield every distinct run of a scenario as its steps and its history."""
    path: list[_Choice] = []
    while True:
        run = Run(scenario, make_store)
        for choice in path:
            choice.footprint = run.do(choice.step)
        if _complete(run, path):
            yield tuple(choice.step for choice in path), observe(run)
        while path and not path[-1].next_step():
            path.pop()
        if not path:
            return


def _complete(run: Run, path: list[_Choice]) -> bool:
    """Continue to the end; return False if only steps tried before remain."""
    asleep = path[-1].asleep_after() if path else {}
    while steps := run.steps():
        assert len(path) < _ENDLESS, f"{run.scenario.title} does not end"
        choice = _Choice.among(steps, asleep)
        if choice is None:
            run.abandon()
            return False
        choice.footprint = run.do(choice.step)
        path.append(choice)
        asleep = choice.asleep_after()
    return True


def replay(scenario: Scenario, schedule: Schedule, make_store: StoreMaker = memory_store) -> Run:
    """Run one schedule, continuing to the end. Raises `ValueError` at an impossible step."""
    run = Run(scenario, make_store)
    for step in schedule:
        if step not in run.steps():
            possible = " ".join(map(str, run.steps())) or "none"
            run.abandon()
            raise ValueError(f"Step {len(run.events) + 1}: {step} is impossible; possible: {possible}.")
        run.do(step)
    while steps := run.steps():
        run.do(steps[0])
    return run
