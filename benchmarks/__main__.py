"""Measure the groups one after the other and write the tables."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from . import report, wrk
from .measure import Result, can_start, measure, say
from .processes import pin
from .registry import GROUPS, Peer
from .wrk import BenchmarkError


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure cartapp beside others."
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is taken (5)")
    parser.add_argument("--seconds", type=int, default=1, help="how long each time (1)")
    parser.add_argument("--quick", action="store_true", help="one round of one second, only printed")
    parser.add_argument(
        "--group", action="append", choices=GROUPS, default=[], help="only these, only printed"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="peers with this in their name, only printed",
    )
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds = chosen.seconds = 1
    if min(chosen.rounds, chosen.seconds) < 1:
        parser.error("--rounds and --seconds must be at least 1")
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
    results: dict[str, Result] = {}
    servers: list[str] = []
    try:
        wrk.version()
        if (load := os.getloadavg()[0]) > 0.5:
            say(f"The machine is busy (load {load:.1f}), so the figures will not be true.")
        groups, missing = divide(choose(chosen.group, chosen.only))
        pin(0, core=0)
        for peers in groups.values():
            found, used = measure(peers, chosen.rounds, chosen.seconds)
            results |= found
            servers += used
    except BenchmarkError as error:
        say(str(error))
        return 1
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    tables = report.text(groups, missing, results, servers, chosen.seconds, command)
    print(tables)
    if not (chosen.quick or chosen.only or chosen.group):
        report.write(tables)
        say("Written to docs/performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
