"""Measure each group and write the report."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import plot, report, workers, wrk
from .measure import Plan, can_start, log, measure, measure_undisturbed
from .processes import pin
from .registry import GROUPS, Peer
from .results import as_json
from .wrk import BenchmarkError

PLAN, QUICK = Plan(2, 1, 5, 1), Plan(1, 1, 1, 1)


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare cartapp with other frameworks."
    )
    parser.add_argument("--rounds", type=int, help=f"rounds per endpoint (default: {PLAN.rounds})")
    parser.add_argument("--seconds", type=int, help=f"seconds per round (default: {PLAN.seconds})")
    parser.add_argument("--quick", action="store_true", help="one round of one second; print only")
    parser.add_argument(
        "--repeat", action="store_true", help="measure a group again if other processes disturbed it"
    )
    parser.add_argument(
        "--group",
        action="append",
        choices=GROUPS,
        default=[],
        help="measure only this group; print only; repeatable",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="measure only peers with WORD in their name; print only; repeatable",
    )
    chosen = parser.parse_args(arguments)
    plan = QUICK if chosen.quick else PLAN
    given = {
        name: getattr(chosen, name) for name in ("rounds", "seconds") if getattr(chosen, name) is not None
    }
    if any(number < 1 for number in given.values()):
        parser.error("--rounds and --seconds must be at least 1")
    chosen.plan = replace(plan, **given)
    return chosen


def choose(groups: Sequence[str], words: Sequence[str]) -> dict[str, list[Peer]]:
    """Return the peers of the selected groups with one of the words in their names."""
    found = {
        name: [
            peer for peer in peers if not words or any(word.lower() in peer.name.lower() for word in words)
        ]
        for name, peers in GROUPS.items()
        if not groups or name in groups
    }
    chosen = {name: peers for name, peers in found.items() if peers}
    if not chosen:
        raise BenchmarkError("No peer matches --group and --only.")
    return chosen


def divide(groups: Mapping[str, Sequence[Peer]]) -> tuple[dict[str, list[Peer]], list[Peer]]:
    """Split the peers into those that can start on this machine, by group, and the rest."""
    available = {name: [peer for peer in peers if can_start(peer)] for name, peers in groups.items()}
    return available, [peer for peers in groups.values() for peer in peers if not can_start(peer)]


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    is_complete = not (chosen.quick or chosen.only or chosen.group)
    try:
        wrk.version()
        groups, missing = divide(choose(chosen.group, chosen.only))
        pin(0, core=0)
        take = measure_undisturbed if chosen.repeat else measure
        found = {name: take(name, peers, chosen.plan) for name, peers in groups.items() if peers}
        missing += [peer for name in found for peer in groups[name] if peer.name not in found[name].results]
        groups = {name: [peer for peer in groups[name] if peer not in missing] for name in found}
        runs = workers.measure(chosen.plan.rounds, chosen.plan.seconds) if is_complete else []
    except BenchmarkError as error:
        log(str(error))
        return 1
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    print(report.text(groups, missing, found, chosen.plan, command, runs))
    if is_complete:
        results = as_json(command, report.machine(), report.software(groups, found), found, runs)
        tables = report.text(groups, missing, found, chosen.plan, command, runs)
        report.write(tables, report.summarize(found), plot.draw(found["redis"]), results)
        log("Wrote docs/performance.md, .svg and .json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
