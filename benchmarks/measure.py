"""Measure the peers of a group in turn.

All servers of a group run at the same time, but only one receives requests. A round measures every endpoint
of every peer once. Each target then gets rounds of its own with only the compared peers, back to back, so
that a slow moment of the machine affects all of them.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from statistics import median

import httpx2 as httpx

from . import backend, page, postgresql, server, steady, visitors, wrk
from .backend import Server
from .page import Page
from .processes import OtherLoadMeter, resident
from .registry import ENDPOINTS, GET, PUT, Peer
from .server import Running
from .steady import Steady
from .targets import Match, matches
from .visitors import Race
from .wrk import BenchmarkError, Measurement

COMMON_RATE = 300
"""Rate in requests per second for the latencies of a group, if its slowest peer can sustain it."""

SHARE = 0.6
"""Share of the maximum rate of the slowest compared peer at which latencies are measured."""


MAX_OTHER_LOAD = 0.03
"""Share of the machine that other processes may use; above it the figures are invalid."""


@dataclass
class Result:
    """Figures of one peer."""

    runs: dict[str, list[Measurement]] = field(default_factory=dict)
    """By endpoint: one measurement per round."""
    steady: dict[str, Steady] = field(default_factory=dict)
    """By endpoint: latencies at the common rate of the group."""
    commands: dict[str, float] = field(default_factory=dict)
    """By endpoint: commands on the Redis or Valkey server per request."""
    backend_cpu: dict[str, float] = field(default_factory=dict)
    """By endpoint: CPU seconds of that server per request."""
    memory: int = 0
    """Resident bytes of its processes after the load."""
    lost_sessions: int = 0
    """Sessions missing after the load."""
    race: Race | None = None
    page: Page | None = None


@dataclass
class Samples:
    """Figures of one compared peer: one measurement of each kind per round."""

    runs: list[Measurement] = field(default_factory=list)
    """At the maximum rate."""
    steady: list[Steady] = field(default_factory=list)
    """At a rate that every compared peer can sustain."""


@dataclass
class GroupResult:
    """Figures of a group."""

    results: dict[str, Result]
    """By peer name."""
    matches: list[tuple[Match, dict[str, Samples]]]
    """Each comparison with its samples by peer name."""
    servers: list[str]
    """Names and versions of the session servers."""
    other_load: float
    """Share of the machine that other processes used during the measurement, between 0 and 1."""


@dataclass(frozen=True)
class Plan:
    """Number and length of the rounds."""

    rounds: int
    seconds: int
    match_rounds: int
    steady_seconds: float


@dataclass(frozen=True)
class _RunningPeer:
    peer: Peer
    running: Running
    requests: Mapping[str, list[bytes]]
    cookies: list[str]
    backend: Server | None
    result: Result


def can_start(peer: Peer) -> bool:
    """Return whether the machine has everything the peer needs."""
    installed = peer.home is None or peer.home.exists()
    return installed and which(peer.command[0]) is not None and _has_server(_scheme(peer))


_SERVERS: Mapping[str, Callable[[], AbstractContextManager[Server]]] = {
    "redis": lambda: backend.running("redis"),
    "valkey": lambda: backend.running("valkey"),
    "postgresql+asyncpg": postgresql.running,
}


def _has_server(scheme: str) -> bool:
    if scheme not in _SERVERS:
        return True
    return bool(backend.binary(scheme)) if scheme in ("redis", "valkey") else postgresql.is_installed()


def measure_undisturbed(group: str, peers: Sequence[Peer], plan: Plan) -> GroupResult:
    """Measure a group; repeat once if other processes used the machine, and keep the less disturbed run."""
    found = measure(group, peers, plan)
    if found.other_load <= MAX_OTHER_LOAD:
        return found
    log(f"Other processes used {found.other_load:.0%} of the machine: repeating {group}")
    return min(found, measure(group, peers, plan), key=lambda each: each.other_load)


def measure(group: str, peers: Sequence[Peer], plan: Plan) -> GroupResult:
    """Measure everything about a group, except peers that do not start. Raises `BenchmarkError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backends: dict[str, Server] = {
            scheme: stack.enter_context(_SERVERS[scheme]())
            for scheme in sorted(_SERVERS.keys() & {_scheme(peer) for peer in peers})
        }
        running_peers: dict[str, _RunningPeer] = {}
        for number, peer in enumerate(peers):
            server_of_peer = backends.get(_scheme(peer))
            try:
                running = stack.enter_context(_started(peer, folder, number, server_of_peer))
            except (BenchmarkError, httpx.HTTPError) as error:  # the others are worth measuring
                log(f"Left out: {peer.name}: {error}")
            else:
                running_peers[peer.name] = running
        meter = OtherLoadMeter()
        for number in range(1, plan.rounds + 1):
            _round(list(running_peers.values()), f"{number}/{plan.rounds}", plan.seconds, folder)
        _measure_at_common_rate(list(running_peers.values()), plan)
        runs = {name: each.result.runs for name, each in running_peers.items()}
        comparisons = _compare_all(matches(group, runs), running_peers, plan, folder)
        other_load = meter.share()
        for each in running_peers.values():
            _measure_after_load(each)
        results = {name: each.result for name, each in running_peers.items()}
        return GroupResult(results, comparisons, [each.version() for each in backends.values()], other_load)


def _round(running_peers: Sequence[_RunningPeer], label: str, seconds: int, folder: Path) -> None:
    for endpoint in ENDPOINTS:
        for each in running_peers:
            if endpoint not in each.peer.endpoints:
                continue
            before = each.backend.used() if each.backend else None
            run = wrk.run(each.running.address, each.requests[endpoint], seconds, folder)
            each.result.runs.setdefault(endpoint, []).append(run)
            after = each.backend.used() if each.backend else None
            if before and after:
                each.result.commands[endpoint] = (after[0] - before[0]) / run.count
                each.result.backend_cpu[endpoint] = (after[1] - before[1]) / run.count
            log(f"{label}  {endpoint:<16} {each.peer.name:<52} {run.rate:8,.0f}/s")


def _measure_at_common_rate(running_peers: Sequence[_RunningPeer], plan: Plan) -> None:
    with_sessions = [each for each in running_peers if each.peer.endpoints == ENDPOINTS]
    for endpoint in (GET, PUT) if with_sessions else ():
        sustainable = min(_sustainable_rate(each, endpoint) for each in with_sessions)
        rate = min(COMMON_RATE, sustainable)
        for each in with_sessions:
            each.result.steady[endpoint] = _steady(each, endpoint, rate, plan)


def _compare_all(
    found: Sequence[Match], running_peers: Mapping[str, _RunningPeer], plan: Plan, folder: Path
) -> list[tuple[Match, dict[str, Samples]]]:
    """Measure the compared peers of each endpoint, once for all matches."""
    names: dict[str, dict[str, None]] = {}
    for match in found:
        names.setdefault(match.endpoint, {}).update(dict.fromkeys((match.rival, *match.ours)))
    samples = {
        endpoint: _compare(endpoint, [running_peers[name] for name in compared], plan, folder)
        for endpoint, compared in names.items()
    }
    return [(match, samples[match.endpoint]) for match in found]


def _compare(endpoint: str, compared: Sequence[_RunningPeer], plan: Plan, folder: Path) -> dict[str, Samples]:
    """Measure peers back to back, since the speed of the machine changes within seconds."""
    rate = min(_sustainable_rate(each, endpoint) for each in compared)
    found = {each.peer.name: Samples() for each in compared}
    for _ in range(plan.match_rounds):
        for each in compared:
            run = wrk.run(each.running.address, each.requests[endpoint], plan.seconds, folder)
            found[each.peer.name].runs.append(run)
        for each in compared:
            found[each.peer.name].steady.append(_steady(each, endpoint, rate, plan))
    return found


def _sustainable_rate(each: _RunningPeer, endpoint: str) -> int:
    """Return a rate that the peer can sustain, in multiples of ten."""
    return max(10, int(median(run.rate for run in each.result.runs[endpoint]) * SHARE) // 10 * 10)


def _steady(each: _RunningPeer, endpoint: str, rate: int, plan: Plan) -> Steady:
    run = steady.run(each.running.address, each.requests[endpoint], rate, plan.steady_seconds)
    log(f"at {rate}/s  {endpoint:<16} {each.peer.name:<52} p50 {run.p50:6.1f} ms  p99 {run.p99:6.1f} ms")
    return run


def _measure_after_load(each: _RunningPeer) -> None:
    each.result.memory = resident(each.running.process)
    if each.peer.endpoints == ENDPOINTS:
        each.result.lost_sessions = visitors.count_lost_sessions(each.running.address, each.cookies)
        each.result.race = visitors.race(each.running.address)
    if each.peer.page:
        each.result.page = page.measure(each.running.address)


@contextmanager
def _started(peer: Peer, folder: Path, number: int, store: Server | None) -> Iterator[_RunningPeer]:
    home = folder / str(number)
    sessions = store.url(peer.sessions, number) if store else peer.sessions.format(folder=home)
    with server.started(peer, home, sessions) as running:
        cookies = visitors.prepare(peer, running.address)
        requests = visitors.requests(peer, cookies)
        yield _RunningPeer(peer, running, requests, cookies, store, Result())


def _scheme(peer: Peer) -> str:
    return peer.sessions.partition(":")[0]


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
