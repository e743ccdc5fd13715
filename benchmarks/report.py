"""Format the report and insert it into docs/performance.md."""

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from .measure import COMMON_RATE, MAX_OTHER_LOAD, SHARE, GroupResult, Plan, Result
from .page import Page
from .processes import PINNED
from .registry import ENDPOINTS, GET, PUT, ROOT, Peer
from .results import Evaluation, evaluate
from .versions import versions
from .visitors import ADDS, SESSIONS
from .workers import WORKERS, WorkerRun
from .wrk import CONNECTIONS

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
SUMMARY = "<!-- summary by make bench -->", "<!-- end of the summary -->"

Groups = Mapping[str, Sequence[Peer]]
Cell = Callable[[Result, str], str]


def text(
    groups: Groups,
    missing: Sequence[Peer],
    found: Mapping[str, GroupResult],
    plan: Plan,
    command: str,
    workers: Sequence[WorkerRun] = (),
) -> str:
    """Return the report of a run as Markdown."""
    parts = [
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}.",
        f"{', '.join(software(groups, found))}.",
    ]
    for name, each in found.items():
        if each.other_load > MAX_OTHER_LOAD:
            share = f"{each.other_load:.0%} of the machine"
            parts.append(f"**Invalid for the group {name}: other processes used {share}.**")
    if missing:
        skipped = "; ".join(peer.name for peer in missing)
        parts.append(f"Skipped, because they cannot start here: {skipped}.")
    parts += targets(found)
    parts += [_legend(plan)]
    for name, each in found.items():
        parts += [f"### {name[0].upper()}{name[1:]}", rates(groups[name], each), costs(groups[name], each)]
    parts += two_workers(workers)
    parts += [
        _page(result.page) for each in found.values() for result in each.results.values() if result.page
    ]
    return "\n\n".join(part for part in parts if part)


def write(tables: str, summary: str, plot: str, results: Mapping[str, Any]) -> None:
    """Write plot and JSON next to the page, and replace the reports in it; keep the text around them."""
    PAGE.with_suffix(".svg").write_text(plot)
    PAGE.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    page = PAGE.read_text()
    for (begin, end), content in {SUMMARY: summary, (BEGIN, END): tables}.items():
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    PAGE.write_text(page)


def summarize(found: Mapping[str, GroupResult]) -> str:
    """Return the first screen of the page: the plot, and the rates compared with sessions by hand."""
    image = "![Requests per second of all peers with sessions on Redis](performance.svg)"
    return f"{image}\n\n{by_hand(found)}\n\nThe raw figures are in [performance.json](performance.json)."


def targets(found: Mapping[str, GroupResult]) -> list[str]:
    """Return the table of targets: one row per comparison and application of ours."""
    head = ["", "endpoint", "ours", "rival", "ratio", "at least", "p99, ms", "rival's", "at, 1/s", "met"]
    rows = [_target(row) for row in evaluate(found)]
    return ["### Targets", table([head, *rows], words=4)] if rows else []


def _target(row: Evaluation) -> list[str]:
    least = "" if row.least is None else "ahead" if row.least == 1 else f"{row.least:.2f}"
    figures = [f"{row.ratio:.2f}", least, f"{row.p99:.1f}", f"{row.rivals_p99:.1f}", str(row.rate)]
    return [row.title, f"`{row.endpoint}`", row.ours, row.rival, *figures, row.met]


def by_hand(found: Mapping[str, GroupResult]) -> str:
    """Return the rates as multiples of FastAPI with a driver and no session layer, by backend."""
    rows: dict[str, dict[tuple[bool, str], float]] = {}
    for row in evaluate(found):
        if row.rival.startswith("FastAPI") and " by hand" in row.rival:
            rows.setdefault(row.rival, {})[row.ours.startswith("cartapp"), row.endpoint] = row.ratio
    head = ["compared with", "shop, GET", "shop, PUT", "layer, GET", "layer, PUT"]
    columns = [(is_shop, at) for is_shop in (True, False) for at in (GET, PUT)]
    return table(
        [head, *([name, *(f"{ratios[column]:.2f}" for column in columns)] for name, ratios in rows.items())]
    )


def two_workers(runs: Sequence[WorkerRun]) -> list[str]:
    """Return the table of two workers compared with one."""
    if not runs:
        return []
    head = ["", "endpoint", "1 worker", "2 workers", "ratio", "p99, ms", "with 2", "wrk's share", "with 2"]
    by_count = {(run.backend, run.endpoint, run.workers): run for run in runs}
    rows = []
    for run in (run for run in runs if run.workers == WORKERS[0]):
        two = by_count[run.backend, run.endpoint, WORKERS[1]]
        figures = [f"{run.rate:,.0f}", f"{two.rate:,.0f}", f"{two.rate / run.rate:.2f}"]
        p99s, shares = [f"{each.p99:.1f}" for each in (run, two)], [f"{each.load:.0%}" for each in (run, two)]
        rows.append([f"cartapp, {run.backend}", f"`{run.endpoint}`", *figures, *p99s, *shares])
    return ["### Two workers", _WORKERS_LEGEND, table([head, *rows], words=2)]


_WORKERS_LEGEND = (
    "Requests per second of the shop with one and with two workers, which share the cores with wrk and the "
    "server of the sessions. *wrk's share* is that of the whole machine; p99 is that under full load."
)


def rates(peers: Sequence[Peer], found: GroupResult) -> str:
    """Return the table of rates, lost updates and memory."""
    head = ["", *(f"`{at}`" for at in ENDPOINTS), "lost adds", "refused adds", "sessions gone", "MB"]
    rows = [head]
    for peer in peers:
        result = found.results[peer.name]
        race = (
            [str(result.race.lost), str(result.race.refused), str(result.lost_sessions)]
            if result.race
            else [""] * 3
        )
        rows.append(
            [peer.name, *(_rate(result, at) for at in ENDPOINTS), *race, f"{result.memory / 1e6:.0f}"]
        )
    return table(rows)


def _rate(result: Result, endpoint: str) -> str:
    runs = result.runs.get(endpoint)
    if runs is None:
        return ""
    failed = sum(run.failed for run in runs) / sum(run.failed + run.count for run in runs)
    return f"{median(run.rate for run in runs):,.0f}{f' ({failed:.0%} failed)' if failed else ''}"


def costs(peers: Sequence[Peer], found: GroupResult) -> str:
    """Return the table of latencies and the cost of a request on the session server."""
    results = found.results
    rate = {at: run.rate for result in results.values() for at, run in result.steady.items()}
    if not rate:
        return ""
    columns: dict[str, tuple[str, Cell]] = {}
    for at, short in ((GET, "GET"), (PUT, "PUT")):
        columns[f"{short}, {rate[at]}/s"] = (
            at,
            lambda of, at: f"{of.steady[at].p50:.1f} / {of.steady[at].p99:.1f}",
        )
    for at, short in ((GET, "GET"), (PUT, "PUT")):
        columns[f"{short}, full load"] = at, _under_full_load
    if any(result.commands for result in results.values()):
        for at, short in ((GET, "GET"), (PUT, "PUT")):
            columns[f"commands a {short}"] = at, lambda of, at: f"{of.commands[at]:.1f}"
        for at, short in ((GET, "GET"), (PUT, "PUT")):
            columns[f"its CPU a {short}"] = at, lambda of, at: f"{of.backend_cpu[at] * 1e6:.0f}"
    rows = [
        [peer.name, *(cell(results[peer.name], at) for at, cell in columns.values())]
        for peer in peers
        if results[peer.name].steady
    ]
    return table([["", *columns], *rows])


def _under_full_load(of: Result, endpoint: str) -> str:
    runs = of.runs[endpoint]
    return f"{median(run.p50 for run in runs):.1f} / {median(run.p99 for run in runs):.1f}"


def _legend(plan: Plan) -> str:
    cores = "load and session server on one core, the peer on the other, " if PINNED else ""
    return (
        f"wrk with {CONNECTIONS} connections over {SESSIONS} sessions with three items in the cart; {cores}"
        f"one worker per peer. Rates are requests per second: the median of {plan.rounds} rounds of "
        f"{plan.seconds} s in which the peers of a group take turns. The table of targets uses "
        f"{plan.match_rounds} rounds with only the compared peers. Of {ADDS} parallel adds to one session, "
        "*lost adds* were confirmed but are missing from the cart; *refused adds* got an error. *Sessions "
        "gone* are sessions that the load destroyed. MB is the resident memory of the worker and its parent. "
        f"Latencies are `p50 / p99` in milliseconds from the time a request was due, at {COMMON_RATE}/s or "
        f"{SHARE:.0%} of the maximum rate of the slowest peer of the group; in the table of targets at "
        f"{SHARE:.0%} of that of the slowest compared peer. CPU is that of Redis or Valkey in microseconds; "
        "each command in a script counts."
    )


def _page(page: Page) -> str:
    parts = ", ".join(f"`{path}` {size / 1000:.1f}" for path, size in page.parts.items())
    return (
        f"Start page of the shop: first byte after {page.first_byte:.1f} ms, "
        f"{page.size / 1000:.1f} KB without images ({parts})."
    )


def table(rows: list[list[str]], words: int = 1) -> str:
    """Return a Markdown table. The first row is the head; the first `words` columns are left-aligned."""
    lines = [rows[0], [*["---"] * words, *["--:"] * (len(rows[0]) - words)], *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def software(groups: Groups, found: Mapping[str, GroupResult]) -> list[str]:
    """Return what was measured, with versions."""
    peers = [peer for name in found for peer in groups[name]]
    servers = dict.fromkeys(server for each in found.values() for server in each.servers)
    return [*versions(peers), *servers]


def machine() -> str:
    """Return processor, cores and system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
