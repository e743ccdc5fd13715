"""Measure the peers of a group by turns.

The servers of a group run at the same time; only the one that is measured has work. One round measures every
endpoint of every peer once, peer after peer. Then those of each target are compared by themselves, one right
after the other, so that a slow moment of the machine falls on all of them alike.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from statistics import median

from . import backend, page, server, steady, visitors, wrk
from .backend import SERVERS, Backend, binary
from .page import Page
from .processes import Meter, resident
from .registry import ENDPOINTS, GET, PUT, Peer
from .server import Running
from .steady import Steady
from .targets import Match, matches
from .visitors import Race
from .wrk import Measured

COMMON_RATE = 300
"""Requests a second at which the latencies of all peers of a group are taken, if the slowest can hold it."""

SHARE = 0.6
"""How much of its own highest rate the slowest of those compared is given."""


STRANGERS = 0.03
"""How much of the machine others may use; beyond that the figures are not the peers' own."""


@dataclass
class Result:
    """What was found of one peer."""

    runs: dict[str, list[Measured]] = field(default_factory=dict)
    """By endpoint: one a round."""
    steady: dict[str, Steady] = field(default_factory=dict)
    """By endpoint: at the rate that is common to the group."""
    commands: dict[str, float] = field(default_factory=dict)
    """By endpoint: how many the Redis or Valkey server carries out for one request."""
    backend_cpu: dict[str, float] = field(default_factory=dict)
    """By endpoint: seconds of CPU of that server for one request."""
    memory: int = 0
    """Bytes that its processes have in RAM after the load."""
    gone: int = 0
    """Sessions that are no longer there after the load."""
    race: Race | None = None
    page: Page | None = None


@dataclass
class Form:
    """How one of those compared did, right before or after the others: one of each a round."""

    runs: list[Measured] = field(default_factory=list)
    """With all that it can do."""
    steady: list[Steady] = field(default_factory=list)
    """At a rate that all of them can hold."""


@dataclass
class Found:
    """What was found of a group."""

    results: dict[str, Result]
    """By peer's name."""
    matches: list[tuple[Match, dict[str, Form]]]
    """With how those who take part did, by name."""
    servers: list[str]
    """Names and versions of the servers of sessions."""
    strangers: float
    """How much of the machine others than the benchmark used meanwhile, between 0 and 1."""


@dataclass(frozen=True)
class Plan:
    """How often and how long."""

    rounds: int
    seconds: int
    match_rounds: int
    steady_seconds: float


@dataclass(frozen=True)
class _Contestant:
    peer: Peer
    running: Running
    requests: Mapping[str, list[bytes]]
    cookies: list[str]
    backend: Backend | None
    result: Result


def can_start(peer: Peer) -> bool:
    """Whether everything is here that the peer needs."""
    at_home = peer.home is None or peer.home.exists()
    scheme = _scheme(peer)
    return at_home and which(peer.command[0]) is not None and (scheme not in SERVERS or bool(binary(scheme)))


def measure_quietly(group: str, peers: Sequence[Peer], plan: Plan) -> Found:
    """As `measure`; once more when others used the machine, and then what they disturbed less."""
    found = measure(group, peers, plan)
    if found.strangers <= STRANGERS:
        return found
    say(f"Other processes used {found.strangers:.0%} of the machine meanwhile: {group} once more")
    return min(found, measure(group, peers, plan), key=lambda each: each.strangers)


def measure(group: str, peers: Sequence[Peer], plan: Plan) -> Found:
    """Everything about a group. Raises `BenchmarkError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backends = {
            scheme: stack.enter_context(backend.running(scheme))
            for scheme in sorted(SERVERS & {_scheme(peer) for peer in peers})
        }
        contestants = {
            peer.name: stack.enter_context(_started(peer, folder, number, backends.get(_scheme(peer))))
            for number, peer in enumerate(peers)
        }
        meter = Meter()
        for number in range(1, plan.rounds + 1):
            _round(list(contestants.values()), f"{number}/{plan.rounds}", plan.seconds, folder)
        _at_common_rate(list(contestants.values()), plan)
        runs = {name: each.result.runs for name, each in contestants.items()}
        compared = [(match, _compare(match, contestants, plan, folder)) for match in matches(group, runs)]
        strangers = meter.share()
        for each in contestants.values():
            _afterwards(each)
        results = {name: each.result for name, each in contestants.items()}
        return Found(results, compared, [each.version() for each in backends.values()], strangers)


def _round(contestants: Sequence[_Contestant], label: str, seconds: int, folder: Path) -> None:
    for endpoint in ENDPOINTS:
        for each in contestants:
            if endpoint not in each.peer.endpoints:
                continue
            before = each.backend.used() if each.backend else (0, 0.0)
            run = wrk.run(each.running.address, each.requests[endpoint], seconds, folder)
            each.result.runs.setdefault(endpoint, []).append(run)
            if each.backend:
                after = each.backend.used()
                each.result.commands[endpoint] = (after[0] - before[0]) / run.count
                each.result.backend_cpu[endpoint] = (after[1] - before[1]) / run.count
            say(f"{label}  {endpoint:<16} {each.peer.name:<52} {run.rate:8,.0f}/s")


def _at_common_rate(contestants: Sequence[_Contestant], plan: Plan) -> None:
    with_sessions = [each for each in contestants if each.peer.endpoints == ENDPOINTS]
    for endpoint in (GET, PUT) if with_sessions else ():
        bearable = min(_bearable(each, endpoint) for each in with_sessions)
        wanted = min(COMMON_RATE, bearable)
        for each in with_sessions:
            each.result.steady[endpoint] = _steady(each, endpoint, wanted, plan)


def _compare(
    match: Match, contestants: Mapping[str, _Contestant], plan: Plan, folder: Path
) -> dict[str, Form]:
    """Those of a match alone, each right after the other: the machine's speed changes within seconds."""
    endpoint = match.endpoint
    taking_part = [contestants[name] for name in (match.rival, *match.ours)]
    wanted = min(_bearable(each, endpoint) for each in taking_part)
    found = {each.peer.name: Form() for each in taking_part}
    for _ in range(plan.match_rounds):
        for each in taking_part:
            run = wrk.run(each.running.address, each.requests[endpoint], plan.seconds, folder)
            found[each.peer.name].runs.append(run)
        for each in taking_part:
            found[each.peer.name].steady.append(_steady(each, endpoint, wanted, plan))
    return found


def _bearable(each: _Contestant, endpoint: str) -> int:
    """A rate that this peer can hold for long, in tens."""
    return max(10, int(median(run.rate for run in each.result.runs[endpoint]) * SHARE) // 10 * 10)


def _steady(each: _Contestant, endpoint: str, wanted: int, plan: Plan) -> Steady:
    run = steady.run(each.running.address, each.requests[endpoint], wanted, plan.steady_seconds)
    say(f"at {wanted}/s  {endpoint:<16} {each.peer.name:<52} p50 {run.p50:6.1f} ms  p99 {run.p99:6.1f} ms")
    return run


def _afterwards(each: _Contestant) -> None:
    each.result.memory = resident(each.running.process)
    if each.peer.endpoints == ENDPOINTS:
        each.result.gone = visitors.gone(each.running.address, each.cookies)
        each.result.race = visitors.race(each.running.address)
    if each.peer.page:
        each.result.page = page.visit(each.running.address)


@contextmanager
def _started(peer: Peer, folder: Path, number: int, store: Backend | None) -> Iterator[_Contestant]:
    place = folder / str(number)
    sessions = (
        f"{peer.sessions}127.0.0.1:{store.port}/{number}" if store else peer.sessions.format(folder=place)
    )
    with server.started(peer, place, sessions) as running:
        cookies = visitors.prepare(peer, running.address)
        requests = visitors.requests(peer, cookies)
        yield _Contestant(peer, running, requests, cookies, store, Result())


def _scheme(peer: Peer) -> str:
    return peer.sessions.partition(":")[0]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
