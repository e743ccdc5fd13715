"""Performance targets and their evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .registry import GET, PING, PUT
from .wrk import Measurement

Runs = Mapping[str, Mapping[str, Sequence[Measurement]]]
"""By peer name and endpoint: one measurement per round."""


@dataclass(frozen=True)
class Target:
    """A comparison with the fastest of several peers of the same group."""

    title: str
    group: str
    ours: tuple[str, ...]
    """The small application on `cartapp.session`, then the complete shop."""
    rivals: tuple[str, ...]
    least: Mapping[str, float | None]
    """By endpoint: the minimum ratio; None to report only."""


def _ours(backend: str) -> tuple[str, str]:
    return f"FastAPI + cartapp.session, {backend}", f"cartapp, {backend}"


def _by_hand(group: str, backend: str, rival: str) -> tuple[Target, Target]:
    """Return the comparisons with the same application without a session layer."""
    layer, shop = _ours(backend)
    return (
        Target(f"{group}: the shop, to FastAPI by hand", group, (shop,), (rival,), {GET: 2.0, PUT: 1.5}),
        Target(f"{group}: the layer, to FastAPI by hand", group, (layer,), (rival,), {GET: 1.0, PUT: 0.9}),
    )


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
    *_by_hand("redis", "redis", "FastAPI + redis-py by hand, redis"),
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
    *_by_hand("files", "file", "FastAPI + json by hand, files"),
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
    *_by_hand("SQLite", "SQLite", "FastAPI + sqlite3 by hand, SQLite"),
    *_by_hand("PostgreSQL", "PostgreSQL", "FastAPI + asyncpg by hand, PostgreSQL"),
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
    """One endpoint of a target and the compared peers."""

    target: Target
    endpoint: str
    rival: str
    ours: tuple[str, ...]

    @property
    def least(self) -> float | None:
        return self.target.least[self.endpoint]


def matches(group: str, runs: Runs) -> list[Match]:
    """Return the possible comparisons. The rival is the peer with the highest rate."""
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
    """Return the median rate of a peer over its rounds."""
    return median(run.rate for run in runs[name][endpoint])


def ratio(ours: Sequence[Measurement], rivals: Sequence[Measurement]) -> float:
    """Return the median of the ratios per round, so that a slow moment counts for both."""
    return median(run.rate / base.rate for run, base in zip(ours, rivals, strict=True))


def verdict(reached: float, least: float | None, p99: float, rivals_p99: float, failed: int = 0) -> str:
    """Return `yes` or the missed criteria. A minimum ratio of 1 means ahead; `failed` counts our failures."""
    if least is None:
        return "reported"
    lacks = ["responses"] if failed else []
    if reached < least or (least == 1.0 and reached == 1.0):
        lacks.append("ratio")
    if p99 > rivals_p99:
        lacks.append("p99")
    return f"no: {', '.join(lacks)}" if lacks else "yes"
