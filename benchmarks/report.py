"""The tables, and their place in docs/performance.md."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from . import wrk
from .registry import ENDPOINTS, REFERENCE, ROOT, Peer
from .server import PINNED
from .visitors import ADDS, SESSIONS
from .wrk import CONNECTIONS, Measured

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"

Runs = Mapping[tuple[str, str], Sequence[Measured]]
"""By peer's name and endpoint: one result a round."""


def text(peers: Sequence[Peer], runs: Runs, lost: Mapping[str, int], seconds: int, command: str) -> str:
    """The tables of a whole run, as Markdown."""
    rounds = max(len(found) for found in runs.values())
    lost_column = {peer.name: str(lost.get(peer.name, "")) for peer in peers}
    parts = [
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {_machine()}.",
        _versions(peers) + ".",
        f"wrk with {CONNECTIONS} connections round {SESSIONS} sessions with three items in the cart, on "
        f"{'another core than the servers' if PINNED else 'the same cores as the servers'}; one worker each. "
        f"Medians of rounds in which the peers took turns: {rounds} of {seconds} s for each figure.",
        f"Requests a second, and how many of {ADDS} parallel adds of one product to one session were "
        "confirmed and yet lost:",
        _table(peers, lambda peer, at: _rate(runs, peer, at), {"lost adds": lost_column}),
        f"As ratios within a round: `/ping` to {REFERENCE['/ping']}, all others to "
        f"{REFERENCE['GET /api/cart']}:",
        _table(peers, lambda peer, at: _ratio(runs, peer, at)),
        "99th percentile of the latency under this load, in milliseconds:",
        _table(peers, lambda peer, at: f"{median(run.p99 for run in runs[peer, at]):.1f}"),
    ]
    return "\n\n".join(parts)


def write(tables: str) -> None:
    """Put the tables into the page, in the place of the former ones; what stands around them stays."""
    page = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def _rate(runs: Runs, peer: str, endpoint: str) -> str:
    return f"{median(run.rate for run in runs[peer, endpoint]):,.0f}"


def _ratio(runs: Runs, peer: str, endpoint: str) -> str:
    reference = runs.get((REFERENCE[endpoint], endpoint))
    if reference is None:
        return ""
    pairs = zip(runs[peer, endpoint], reference, strict=True)
    return f"{median(run.rate / base.rate for run, base in pairs):.2f}"


def _table(
    peers: Sequence[Peer],
    cell: Callable[[str, str], str],
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    more = more or {}
    rows = [["", *(f"`{endpoint}`" for endpoint in ENDPOINTS), *more]]
    for peer in peers:
        cells = [cell(peer.name, endpoint) if endpoint in peer.endpoints else "" for endpoint in ENDPOINTS]
        rows.append([peer.name, *cells, *(column[peer.name] for column in more.values())])
    rows.insert(1, ["---", *["--:"] * (len(rows[0]) - 1)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _versions(peers: Sequence[Peer]) -> str:
    packages = sorted({"uvicorn", "uvloop", "httptools", *(name for peer in peers for name in peer.packages)})
    return ", ".join(
        [
            f"Python {platform.python_version()}",
            *(f"{name} {version(name)}" for name in packages),
            wrk.version(),
        ]
    )


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
