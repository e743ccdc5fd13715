"""The tables, and their place in docs/performance.md."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from .measure import COMMON_RATE, SHARE, STRANGERS, Form, Found, Plan, Result
from .page import Page
from .processes import PINNED
from .registry import ENDPOINTS, GET, PUT, ROOT, Peer
from .targets import Match, ratio, verdict
from .versions import versions
from .visitors import ADDS, SESSIONS
from .wrk import CONNECTIONS

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"

Groups = Mapping[str, Sequence[Peer]]
Cell = Callable[[Result, str], str]


def text(
    groups: Groups, missing: Sequence[Peer], found: Mapping[str, Found], plan: Plan, command: str
) -> str:
    """The tables of a whole run, as Markdown."""
    peers = [peer for name in found for peer in groups[name]]
    servers = [server for each in found.values() for server in each.servers]
    parts = [
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {_machine()}.",
        f"{', '.join([*versions(peers), *servers])}.",
    ]
    for name, each in found.items():
        if each.strangers > STRANGERS:
            share = f"{each.strangers:.0%} of the machine"
            parts.append(f"**Not true of the group {name}: other processes used {share} meanwhile.**")
    if missing:
        left_out = "; ".join(peer.name for peer in missing)
        parts.append(f"Left out, since what they need is not installed here: {left_out}.")
    parts += targets(found)
    parts += [_legend(plan)]
    for name, each in found.items():
        parts += [f"### {name[0].upper()}{name[1:]}", rates(groups[name], each), costs(groups[name], each)]
    parts += [
        _page(result.page) for each in found.values() for result in each.results.values() if result.page
    ]
    return "\n\n".join(part for part in parts if part)


def write(tables: str) -> None:
    """Put the tables into the page, in the place of the former ones; what stands around them stays."""
    page = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def targets(found: Mapping[str, Found]) -> list[str]:
    """What is to be reached, and what was: one row for each comparison and application of ours."""
    head = ["", "endpoint", "ours", "rival", "ratio", "at least", "p99, ms", "rival's", "at, 1/s", "met"]
    rows = [row for each in found.values() for match, forms in each.matches for row in _match(match, forms)]
    return ["### Targets", table([head, *rows], words=4)] if rows else []


def _match(match: Match, forms: Mapping[str, Form]) -> list[list[str]]:
    rival = forms[match.rival]
    rows = []
    for name in match.ours:
        ours = forms[name]
        reached = ratio(ours.runs, rival.runs)
        least = "" if match.least is None else "ahead" if match.least == 1 else f"{match.least:.2f}"
        failed = sum(run.failed for run in ours.runs) + sum(run.failed for run in ours.steady)
        met = verdict(reached, match.least, _p99(ours), _p99(rival), failed)
        figures = [f"{reached:.2f}", least, f"{_p99(ours):.1f}", f"{_p99(rival):.1f}"]
        rate = str(ours.steady[0].rate)
        rows.append([match.target.title, f"`{match.endpoint}`", name, match.rival, *figures, rate, met])
    return rows


def _p99(form: Form) -> float:
    return median(run.p99 for run in form.steady)


def rates(peers: Sequence[Peer], found: Found) -> str:
    """Requests a second, and what they cost in truth and memory."""
    head = ["", *(f"`{at}`" for at in ENDPOINTS), "lost adds", "refused adds", "sessions gone", "MB"]
    rows = [head]
    for peer in peers:
        result = found.results[peer.name]
        race = (
            [str(result.race.lost), str(result.race.refused), str(result.gone)] if result.race else [""] * 3
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


def costs(peers: Sequence[Peer], found: Found) -> str:
    """Latencies, and what a request costs the server of the sessions."""
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
    cores = "on one core with the server of the sessions, the peer alone on the other; " if PINNED else ""
    return (
        f"wrk with {CONNECTIONS} connections round {SESSIONS} sessions with three items in the cart, {cores}"
        f"one worker each. Requests a second: medians of {plan.rounds} rounds of {plan.seconds} s in which "
        f"the peers of a group took turns; in the table of targets {plan.match_rounds} rounds of those "
        f"compared alone. Of {ADDS} parallel adds of one product to one session, *lost* "
        "were confirmed and are not in the cart, *refused* were answered with an error; *gone* are sessions "
        "that the load alone destroyed. MB is the resident memory of the worker and its parent. Latencies "
        f"are `p50 / p99` in milliseconds, counted from when a request was due: at {COMMON_RATE}/s, or "
        f"{SHARE:.0%} of what the slowest of the group can do; in the table of targets at {SHARE:.0%} of "
        "what the slowest of those compared can do. CPU is that of Redis or Valkey, in microseconds, and a "
        "command inside a script counts as one."
    )


def _page(page: Page) -> str:
    parts = ", ".join(f"`{path}` {size / 1000:.1f}" for path, size in page.parts.items())
    return (
        f"The shop's start page: first byte after {page.first_byte:.1f} ms, "
        f"{page.size / 1000:.1f} KB without pictures ({parts})."
    )


def table(rows: list[list[str]], words: int = 1) -> str:
    """Rows as a Markdown table: the first is its head; the first columns are words and the others figures."""
    lines = [rows[0], [*["---"] * words, *["--:"] * (len(rows[0]) - words)], *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"
