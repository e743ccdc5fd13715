"""Measure every peer by turns and write the tables.

All servers run the whole time; only the one that is measured has work. One round measures every endpoint of
every peer once, peer after peer, so that a slow minute of the machine falls on all of them alike.
"""

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from . import report, server, visitors, wrk
from .registry import ENDPOINTS, PEERS, Peer
from .wrk import BenchmarkError, Measured


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure cartapp beside others."
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each figure is taken (5)")
    parser.add_argument("--seconds", type=int, default=4, help="how long each time (4)")
    parser.add_argument("--quick", action="store_true", help="one round of one second, only printed")
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


def choose(words: list[str]) -> list[Peer]:
    chosen = [peer for peer in PEERS if not words or any(word.lower() in peer.name.lower() for word in words)]
    if not chosen:
        raise BenchmarkError(f"No peer is named so; there are: {'; '.join(peer.name for peer in PEERS)}")
    return chosen


def measure(peers: list[Peer], rounds: int, seconds: int) -> tuple[report.Runs, dict[str, int]]:
    runs: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        addresses = {
            peer.name: stack.enter_context(server.started(peer, folder / str(number)))
            for number, peer in enumerate(peers)
        }
        requests = {peer.name: visitors.prepare(peer, addresses[peer.name]) for peer in peers}
        lost = {
            peer.name: visitors.lost_updates(addresses[peer.name])
            for peer in peers
            if peer.endpoints == ENDPOINTS
        }
        for number in range(1, rounds + 1):
            for endpoint in ENDPOINTS:
                for peer in peers:
                    if endpoint in peer.endpoints:
                        run = wrk.run(addresses[peer.name], requests[peer.name][endpoint], seconds, folder)
                        runs[peer.name, endpoint].append(run)
                        say(f"{number}/{rounds}  {endpoint:<16} {peer.name:<44} {run.rate:8,.0f}/s")
    return runs, lost


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    chosen = options(arguments)
    try:
        wrk.version()
        if (load := os.getloadavg()[0]) > 0.5:
            say(f"The machine is busy (load {load:.1f}), so the figures will not be true.")
        peers = choose(chosen.only)
        server.pin(0, core=0)
        runs, lost = measure(peers, chosen.rounds, chosen.seconds)
    except BenchmarkError as error:
        say(str(error))
        return 1
    command = " ".join(["make bench", *([f'ARGS="{" ".join(arguments)}"'] if arguments else [])])
    tables = report.text(peers, runs, lost, chosen.seconds, command)
    print(tables)
    if not chosen.quick and not chosen.only:
        report.write(tables)
        say("Written to docs/performance.md")
    return 0


sys.exit(main(sys.argv[1:]))
