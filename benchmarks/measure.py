"""Measure the peers of a group by turns.

The servers of a group run at the same time; only the one that is measured has work. One round measures every
endpoint of every peer once, peer after peer, so that a slow minute of the machine falls on all of them alike.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

from . import backend, server, visitors, wrk
from .backend import SERVERS, Backend, binary
from .processes import resident
from .registry import ENDPOINTS, Peer
from .server import Running
from .visitors import Race
from .wrk import Measured


@dataclass
class Result:
    """What was found of one peer."""

    runs: dict[str, list[Measured]] = field(default_factory=dict)
    """By endpoint: one a round."""
    race: Race | None = None
    memory: int = 0
    """Bytes that its processes have in RAM after the load."""
    commands: dict[str, float] = field(default_factory=dict)
    """By endpoint: how many the Redis or Valkey server carries out for one request."""
    backend_cpu: dict[str, float] = field(default_factory=dict)
    """By endpoint: seconds of CPU of that server for one request."""


@dataclass(frozen=True)
class _Contestant:
    peer: Peer
    running: Running
    requests: Mapping[str, list[bytes]]
    backend: Backend | None
    result: Result


def can_start(peer: Peer) -> bool:
    """Whether everything is here that the peer needs."""
    at_home = peer.home is None or peer.home.exists()
    scheme = _scheme(peer)
    return at_home and which(peer.command[0]) is not None and (scheme not in SERVERS or bool(binary(scheme)))


def measure(peers: Sequence[Peer], rounds: int, seconds: int) -> tuple[dict[str, Result], list[str]]:
    """The results by peer's name, and the versions of the servers of sessions. Raises `BenchmarkError`."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backends = {
            scheme: stack.enter_context(backend.running(scheme))
            for scheme in SERVERS & {_scheme(peer) for peer in peers}
        }
        contestants = [
            stack.enter_context(_started(peer, folder, number, backends.get(_scheme(peer))))
            for number, peer in enumerate(peers)
        ]
        for number in range(1, rounds + 1):
            _round(contestants, f"{number}/{rounds}", seconds, folder)
        for each in contestants:
            each.result.memory = resident(each.running.process)
            if each.peer.endpoints == ENDPOINTS:
                each.result.race = visitors.race(each.running.address)
        return (
            {each.peer.name: each.result for each in contestants},
            [each.version() for each in backends.values()],
        )


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
            say(f"{label}  {endpoint:<16} {each.peer.name:<44} {run.rate:8,.0f}/s")


@contextmanager
def _started(peer: Peer, folder: Path, number: int, store: Backend | None) -> Iterator[_Contestant]:
    place = folder / str(number)
    sessions = (
        f"{peer.sessions}127.0.0.1:{store.port}/{number}" if store else peer.sessions.format(folder=place)
    )
    with server.started(peer, place, sessions) as running:
        yield _Contestant(peer, running, visitors.prepare(peer, running.address), store, Result())


def _scheme(peer: Peer) -> str:
    return peer.sessions.partition(":")[0]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
