"""The tables, and their place in docs/performance.md."""

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from .measure import Result
from .processes import PINNED
from .registry import ENDPOINTS, GET, PUT, ROOT, Peer
from .versions import versions
from .visitors import ADDS, SESSIONS
from .wrk import CONNECTIONS

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"

Results = Mapping[str, Result]
Groups = Mapping[str, Sequence[Peer]]


def text(
    groups: Groups,
    missing: Sequence[Peer],
    results: Results,
    servers: Sequence[str],
    seconds: int,
    command: str,
) -> str:
    """The tables of a whole run, as Markdown."""
    peers = [peer for group in groups.values() for peer in group]
    rounds = max(len(runs) for result in results.values() for runs in result.runs.values())
    parts = [
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {_machine()}.",
        f"{', '.join([*versions(peers), *servers])}.",
        f"wrk with {CONNECTIONS} connections round {SESSIONS} sessions with three items in the cart"
        f"{', on one core with Redis; the server alone on the other' if PINNED else ''}; one worker each. "
        f"Medians of rounds in which the peers took turns: {rounds} of {seconds} s for each figure.",
        *([f"Left out, since what they need is not installed here: {names(missing)}."] if missing else []),
        f"Requests a second, and how many of {ADDS} parallel adds of one product to one session were "
        "confirmed and yet lost, or refused:",
    ]
    parts += [f"{name}\n\n{_group(peers, results)}" for name, peers in groups.items()]
    return "\n\n".join(parts)


def names(peers: Sequence[Peer]) -> str:
    return "; ".join(peer.name for peer in peers)


def write(tables: str) -> None:
    """Put the tables into the page, in the place of the former ones; what stands around them stays."""
    page = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def _group(peers: Sequence[Peer], results: Results) -> str:
    head = [
        "",
        *(f"`{endpoint}`" for endpoint in ENDPOINTS),
        "lost",
        "refused",
        "MB",
        "p99 GET",
        "p99 PUT",
        "commands GET",
        "PUT",
        "us GET",
        "PUT",
    ]
    return table([head, *(_row(peer, results[peer.name]) for peer in peers)])


def _row(peer: Peer, found: Result) -> list[str]:
    race = [str(found.race.lost), str(found.race.refused)] if found.race else ["", ""]
    return [
        peer.name,
        *(
            f"{median(run.rate for run in found.runs[at]):,.0f}" if at in found.runs else ""
            for at in ENDPOINTS
        ),
        *race,
        f"{found.memory / 1e6:.0f}",
        *(
            f"{median(run.p99 for run in found.runs[at]):.1f}" if at in found.runs else ""
            for at in (GET, PUT)
        ),
        *(f"{found.commands[at]:.1f}" if at in found.commands else "" for at in (GET, PUT)),
        *(f"{found.backend_cpu[at] * 1e6:.0f}" if at in found.backend_cpu else "" for at in (GET, PUT)),
    ]


def table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table: the first is its head, and all columns but the first are figures."""
    lines = [rows[0], ["---", *["--:"] * (len(rows[0]) - 1)], *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
