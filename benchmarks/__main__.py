"""Measure the groups one after the other and write the tables."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from . import report, wrk
from .measure import Plan, can_start, measure, measure_quietly, say
from .processes import pin
from .registry import GROUPS, Peer
from .wrk import BenchmarkError

PLAN, QUICK = Plan(3, 1, 7, 1.5), Plan(1, 1, 1, 1)


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure cartapp beside others."
    )
    parser.add_argument("--rounds", type=int, help=f"how often each rate is taken ({PLAN.rounds})")
    parser.add_argument("--seconds", type=int, help=f"how long each time ({PLAN.seconds})")
    parser.add_argument("--quick", action="store_true", help="everything once for a second, only printed")
    parser.add_argument(
        "--group",
        action="append",
        choices=GROUPS,
        default=[],
        help="this group, only printed; may be repeated",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="peers with this in their name, only printed; may be repeated",
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
    """The peers of the wanted groups that have one of the words in their names."""
    found = {
        name: [
            peer for peer in peers if not words or any(word.lower() in peer.name.lower() for word in words)
        ]
        for name, peers in GROUPS.items()
        if not groups or name in groups
    }
    chosen = {name: peers for name, peers in found.items() if peers}
    if not chosen:
        raise BenchmarkError("No peer is named so.")
    return chosen


def divide(groups: Mapping[str, Sequence[Peer]]) -> tuple[dict[str, list[Peer]], list[Peer]]:
    """Those that can be started here, and those that cannot."""
    there = {name: [peer for peer in peers if can_start(peer)] for name, peers in groups.items()}
    return there, [peer for peers in groups.values() for peer in peers if not can_start(peer)]


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    try:
        wrk.version()
        groups, missing = divide(choose(chosen.group, chosen.only))
        pin(0, core=0)
        take = measure if chosen.quick else measure_quietly
        found = {name: take(name, peers, chosen.plan) for name, peers in groups.items() if peers}
    except BenchmarkError as error:
        say(str(error))
        return 1
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    tables = report.text(groups, missing, found, chosen.plan, command)
    print(tables)
    if not (chosen.quick or chosen.only or chosen.group):
        report.write(tables)
        say("Written to docs/performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
