"""What a run found, in the form of tables and of JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from .measure import GroupResult, Result, Samples
from .targets import Match, ratio, verdict
from .workers import WorkerRun


@dataclass(frozen=True)
class Evaluation:
    """One comparison with one application of ours."""

    group: str
    title: str
    endpoint: str
    ours: str
    rival: str
    ratio: float
    least: float | None
    p99: float
    """Milliseconds."""
    rivals_p99: float
    rate: int
    """Requests per second at which the latencies were measured."""
    met: str


def evaluate(found: Mapping[str, GroupResult]) -> list[Evaluation]:
    """Return the comparisons of all groups."""
    return [
        row for each in found.values() for match, samples in each.matches for row in _rows(match, samples)
    ]


def _rows(match: Match, samples: Mapping[str, Samples]) -> Iterator[Evaluation]:
    rival = samples[match.rival]
    for name in match.ours:
        ours = samples[name]
        reached = ratio(ours.runs, rival.runs)
        failed = sum(run.failed for run in ours.runs) + sum(run.failed for run in ours.steady)
        yield Evaluation(
            match.target.group,
            match.target.title,
            match.endpoint,
            name,
            match.rival,
            reached,
            match.least,
            _p99(ours),
            _p99(rival),
            ours.steady[0].rate,
            verdict(reached, match.least, _p99(ours), _p99(rival), failed),
        )


def _p99(samples: Samples) -> float:
    return median(run.p99 for run in samples.steady)


def as_json(
    command: str,
    machine: str,
    versions: Sequence[str],
    found: Mapping[str, GroupResult],
    workers: Sequence[WorkerRun],
) -> dict[str, Any]:
    """Return everything that was measured as JSON types."""
    return {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine,
        "versions": list(versions),
        "groups": {
            name: {
                "other_load": round(each.other_load, 4),
                "peers": {peer: _peer(result) for peer, result in each.results.items()},
            }
            for name, each in found.items()
        },
        "targets": [asdict(row) for row in evaluate(found)],
        "workers": [asdict(run) for run in workers],
    }


def _peer(result: Result) -> dict[str, Any]:
    return {
        "rates": {at: [round(run.rate) for run in runs] for at, runs in result.runs.items()},
        "latencies": {at: asdict(run) for at, run in result.steady.items()},
        "commands": result.commands,
        "server_cpu": result.backend_cpu,
        "memory": result.memory,
        "lost_sessions": result.lost_sessions,
        "race": asdict(result.race) if result.race else None,
    }
