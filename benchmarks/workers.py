"""The shop with two workers, compared with one, on each kind of store.

Load, workers and the server of the sessions share the machine without pinning; the table states the share of
the load generator.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import monotonic

import httpx2 as httpx

from . import backend, postgresql, server, visitors, wrk
from .measure import log
from .processes import CORES
from .registry import FILES, GET, POSTGRESQL, PUT, Peer, ours
from .wrk import BenchmarkError, Measurement

WORKERS = (1, 2)
_PEERS = (
    ours("redis", "redis", "redis://"),
    ours("file", "file", FILES),
    ours("SQLite", "database", ""),
    ours("PostgreSQL", "database", POSTGRESQL),
)


@dataclass(frozen=True)
class WorkerRun:
    """Medians of one backend, endpoint and number of workers."""

    backend: str
    endpoint: str
    workers: int
    rate: float
    p99: float
    """Milliseconds at full load."""
    load: float
    """Share of the machine that wrk used, between 0 and 1."""


def measure(rounds: int, seconds: int) -> list[WorkerRun]:
    """Measure the backends with an installed server."""
    found = []
    with _unpinned():
        for peer in filter(_is_installed, _PEERS):
            try:
                found += _measure(peer, rounds, seconds)
            except (BenchmarkError, httpx.HTTPError) as error:  # the others are worth measuring
                log(f"Left out: {peer.name} with two workers: {error}")
    return found


@contextmanager
def _unpinned() -> Iterator[None]:
    """Let this process and its children use every core."""
    before = os.sched_getaffinity(0) if CORES else set()
    if CORES:
        os.sched_setaffinity(0, CORES)
    try:
        yield
    finally:
        if CORES:
            os.sched_setaffinity(0, before)


def _is_installed(peer: Peer) -> bool:
    if peer.sessions == "redis://":
        return bool(backend.binary("redis"))
    return peer.sessions != POSTGRESQL or postgresql.is_installed()


def _measure(peer: Peer, rounds: int, seconds: int) -> list[WorkerRun]:
    found: dict[tuple[str, int], list[tuple[Measurement, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        store = stack.enter_context(_server(peer))
        started = {}
        for workers in WORKERS:
            home = folder / str(workers)
            many = replace(peer, command=(*peer.command, "--workers", str(workers)))
            sessions = store.url(peer.sessions, workers) if store else peer.sessions.format(folder=home)
            running = stack.enter_context(server.started(many, home, sessions, pinned=False))
            cookies = visitors.prepare(many, running.address)
            started[workers] = running.address, visitors.requests(many, cookies)
        for endpoint in (GET, PUT):
            for _ in range(rounds):
                for workers, (address, requests) in started.items():
                    run = _run(address, requests[endpoint], seconds, folder)
                    found.setdefault((endpoint, workers), []).append(run)
    name = peer.name.partition(", ")[2]
    return [
        WorkerRun(
            name,
            endpoint,
            workers,
            median(run.rate for run, _ in runs),
            median(run.p99 for run, _ in runs),
            median(share for _, share in runs),
        )
        for (endpoint, workers), runs in found.items()
    ]


@contextmanager
def _server(peer: Peer) -> Iterator[backend.Server | None]:
    if peer.sessions == "redis://":
        with backend.running("redis") as redis:
            yield redis
    elif peer.sessions == POSTGRESQL:
        with postgresql.running() as database:
            yield database
    else:
        yield None


def _run(address: str, requests: list[bytes], seconds: int, folder: Path) -> tuple[Measurement, float]:
    """Return a run and the share of the machine that wrk used."""
    began, used = monotonic(), _children()
    run = wrk.run(address, requests, seconds, folder)
    return run, (_children() - used) / (monotonic() - began) / (os.cpu_count() or 1)


def _children() -> float:
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
