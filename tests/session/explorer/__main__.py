"""The command line; see the package."""

import argparse
import sys
from collections.abc import Callable, Iterator

from tests.session.explorer.explore import explore, run_schedule
from tests.session.explorer.requests import KINDS
from tests.session.explorer.run import Step
from tests.session.explorer.scenario import STARTS, Scenario, scenario
from tests.session.explorer.suites import SOAK, quick

SUITES: dict[str, Callable[[], Iterator[Scenario]]] = {
    "quick": quick,
    "soak": lambda: (each for group in SOAK.values() for each in group()),
}


def main() -> int:
    """Explore, or run one schedule; return 1 on a violation of the specification."""
    parser = _parser()
    options = parser.parse_args()
    if options.suite:
        return _explore(SUITES[options.suite](), options.violations)
    if not options.requests:
        parser.error("--requests or --suite is needed")
    try:
        chosen = scenario(
            *options.requests,
            start=options.start,
            faults=options.faults,
            cancels=options.cancels,
            late=options.late,
        )
        if options.schedule is None:
            return _explore(iter([chosen]), options.violations)
        allowed, text = run_schedule(chosen, tuple(map(Step.parse, options.schedule.split())))
    except ValueError as error:
        parser.error(str(error))
    print(text)
    return not allowed


def _explore(scenarios: Iterator[Scenario], violations: int) -> int:
    tally = explore(scenarios, stop_after=violations)
    print(*tally.violations, f"Explored {tally}.", sep="\n\n")
    return bool(tally.violations)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.session.explorer", description="Explore interleavings."
    )
    parser.add_argument("--suite", choices=SUITES, help="the scenarios of `make test` or of `make soak`")
    parser.add_argument("--requests", nargs="+", metavar="KIND[.old][@PROCESS]", help=", ".join(KINDS))
    parser.add_argument("--start", choices=STARTS, default=STARTS[0], help="the session before")
    parser.add_argument("--faults", type=int, default=0, help="how many store calls may fail")
    parser.add_argument("--cancels", type=int, default=0, help="how many requests may be cancelled")
    parser.add_argument("--late", action="store_true", help="calls that fail may take effect later")
    parser.add_argument("--schedule", help='one run, such as "A A B A!drop B"')
    parser.add_argument("--violations", type=int, default=1, help="stop after this number of failing ones")
    return parser


if __name__ == "__main__":
    sys.exit(main())
