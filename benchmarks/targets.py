"""What ours must reach, and whether it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .registry import GET, PING, PUT
from .wrk import Measured

Runs = Mapping[str, Mapping[str, Sequence[Measured]]]
"""By peer's name and endpoint: one result a round."""


@dataclass(frozen=True)
class Target:
    """A comparison of ours with the best of some rivals of the same group."""

    title: str
    group: str
    ours: tuple[str, ...]
    """The small application on our layer, and then the whole shop."""
    rivals: tuple[str, ...]
    least: Mapping[str, float | None]
    """By endpoint: the ratio to reach; None where it is only reported."""


def _ours(backend: str) -> tuple[str, str]:
    return f"FastAPI + cartapp.session, {backend}", f"cartapp, {backend}"


TARGETS = (
    Target(
        "redis, to the best peer in Python",
        "redis",
        _ours("redis"),
        (
            "FastAPI + starsessions, redis",
            "Litestar, redis",
            "Flask + Flask-Session, redis",
            "Django, redis",
            "tina4-python, redis",
        ),
        {GET: 3.5, PUT: 2.5},
    ),
    Target(
        "redis, to Express",
        "redis",
        _ours("redis"),
        ("Express + express-session, redis",),
        {GET: 1.0, PUT: 1.0},
    ),
    Target(
        "redis, to Fastify",
        "redis",
        _ours("redis"),
        ("Fastify + @fastify/session, redis",),
        {GET: 1.0, PUT: None},
    ),
    Target(
        "files, to the best peer in any language",
        "files",
        _ours("file"),
        (
            "Litestar, files",
            "Flask + Flask-Session, files",
            "Django, files",
            "tina4-python, files",
            "Express + session-file-store, files",
        ),
        {GET: 5.0, PUT: 3.0},
    ),
    Target(
        "encrypted cookie, to Starlette's signed one",
        "cookies",
        _ours("encrypted cookie"),
        ("FastAPI + SessionMiddleware, signed cookie",),
        {GET: 1.5, PUT: 1.5},
    ),
    Target(
        "SQLite, to Django's",
        "SQLite",
        _ours("SQLite"),
        ("Django, SQLite",),
        {GET: 5.0, PUT: 3.0},
    ),
    Target(
        "the layer installed, to the same application without it",
        "memory",
        ("FastAPI + cartapp.session, memory",),
        ("FastAPI + cartapp.session, taken out",),
        {PING: 0.97},
    ),
)


@dataclass(frozen=True)
class Match:
    """One endpoint of a target, with those who take part in it."""

    target: Target
    endpoint: str
    rival: str
    ours: tuple[str, ...]

    @property
    def least(self) -> float | None:
        return self.target.least[self.endpoint]


def matches(group: str, runs: Runs) -> list[Match]:
    """The comparisons that can be made with what was measured; the rival is the one with the highest rate."""
    found = []
    for target in TARGETS:
        ours = tuple(name for name in target.ours if name in runs)
        rivals = [name for name in target.rivals if name in runs]
        if target.group == group and ours and rivals:
            for endpoint in target.least:
                best = max(rivals, key=lambda name, at=endpoint: rate(runs, name, at))  # type: ignore[misc]
                found.append(Match(target, endpoint, best, ours))
    return found


def rate(runs: Runs, name: str, endpoint: str) -> float:
    """The median of a peer's rounds."""
    return median(run.rate for run in runs[name][endpoint])


def ratio(ours: Sequence[Measured], rivals: Sequence[Measured]) -> float:
    """The median of the ratios within each round, so that a slow moment counts for both."""
    return median(run.rate / base.rate for run, base in zip(ours, rivals, strict=True))


def verdict(reached: float, least: float | None, p99: float, rivals_p99: float, failed: int = 0) -> str:
    """`yes`, or what is missing; `failed` are answers of ours. A ratio of 1 to reach means ahead."""
    if least is None:
        return "reported"
    lacks = ["answers"] if failed else []
    if reached < least or (least == 1.0 and reached == 1.0):
        lacks.append("ratio")
    if p99 > rivals_p99:
        lacks.append("p99")
    return f"no: {', '.join(lacks)}" if lacks else "yes"
