"""The benchmark: arithmetic, tables, and a quick run with two peers."""

import importlib
import json
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import curve, measure, page, plot, registry, report, scale, steady, targets, visitors
from benchmarks.__main__ import PLAN, choose, options
from benchmarks.measure import GroupResult, Result, Samples
from benchmarks.registry import ENDPOINTS, GET, GROUPS, PUT
from benchmarks.results import as_json
from benchmarks.workers import WorkerRun
from benchmarks.wrk import BenchmarkError, Measurement
from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts, free_port
from tests.support.shop_server import ROOT

NAMES = {name: {peer.name for peer in peers} for name, peers in GROUPS.items()}


def run(rate: float, failed: int = 0) -> Measurement:
    return Measurement(count=int(rate), failed=failed, rate=rate, p50=1.0, p99=2.0)


@contextmanager
def bare_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [part.format(port=port) for part in registry.uvicorn("bare_asgi")]
    with Server(command, folder=folder, ready=lambda: accepts(port), env={"PYTHONPATH": str(ROOT)}):
        yield f"http://127.0.0.1:{port}"


# -- peers ------------------------------------------------------------------------------------------------


def test_every_name_of_a_target_is_a_peer_of_its_group() -> None:
    for target in targets.TARGETS:
        assert {*target.ours, *target.rivals} <= NAMES[target.group], target.title


def test_no_two_peers_have_one_name() -> None:
    names = [peer.name for peers in GROUPS.values() for peer in peers]
    assert len(names) == len(set(names))


def test_every_peer_has_its_file() -> None:
    for peer in (peer for peers in GROUPS.values() for peer in peers):
        parts = [part for part in peer.command if part.endswith((".js", ":app", ".py"))]
        for part in parts:
            module = part.removesuffix(":app").replace(".", "/") + ".py" if part.endswith(":app") else part
            assert (ROOT / module).exists(), part
        assert parts, peer.name


def test_peers_are_chosen_by_group_and_words() -> None:
    assert {peer.name for peer in choose(["SQLite"], [])["SQLite"]} == NAMES["SQLite"]
    chosen = choose([], ["django"])
    assert {name for peers in chosen.values() for name in (peer.name for peer in peers)} == {
        "Django, redis",
        "Django, files",
        "Django, SQLite",
    }
    with pytest.raises(BenchmarkError):
        choose(["SQLite"], ["litestar"])


def test_quick_run_accepts_more_rounds() -> None:
    assert options(["--quick"]).plan.rounds == 1
    assert options(["--quick", "--rounds", "3"]).plan.rounds == 3
    assert options([]).plan.rounds > 1


# -- requests -----------------------------------------------------------------------------------------------


def test_requests_cycle_through_all_sessions() -> None:
    peer = GROUPS["SQLite"][1]
    found = visitors.requests(peer, ["s=1", "s=2"])
    assert set(found) == set(ENDPOINTS)
    assert found[GET] == [
        b"GET /api/cart HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: s=%d\r\n\r\n" % number for number in (1, 2)
    ]
    assert len(set(found[PUT])) == 2 * len(visitors.QUANTITIES)
    assert found[PUT][0].endswith(b'Content-Length: 15\r\n\r\n{"quantity": 2}')


@pytest.mark.parametrize(
    ("response", "complete"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_response_is_complete_with_its_last_byte(response: bytes, complete: bool) -> None:
    assert steady.complete(response) is complete


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert steady.percentile(values, 0.5) == 50
    assert steady.percentile(values, 0.99) == 99
    assert steady.percentile([7.0], 0.99) == 7


def test_fixed_rate_is_kept_and_every_response_counted(tmp_path: Path) -> None:
    with bare_server(tmp_path) as url:
        found = steady.run(url, [b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], rate=200, seconds=0.5)
    assert (found.rate, found.failed) == (200, 0)
    assert 0 < found.p50 <= found.p99


def test_responses_other_than_200_are_counted(tmp_path: Path) -> None:
    refused = b"nonsense\r\n\r\n"  # answered with 400, and the connection is closed
    with bare_server(tmp_path) as url:
        assert steady.run(url, [refused], rate=200, seconds=0.5).failed == 100


def test_closed_connection_is_an_error() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(BenchmarkError, match="closed the connection"):
                steady.run(url, [b"GET / HTTP/1.1\r\n\r\n"], rate=200, seconds=0.5)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("failed", [0, 1])
def test_target_is_not_met_with_failed_responses(failed: int) -> None:
    assert targets.verdict(9.0, 3.5, 1.0, 2.0, failed) == ("no: responses" if failed else "yes")


def test_disturbed_group_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_with_loads(*shares: float) -> list[float]:
        left = [GroupResult({}, [], [], share) for share in shares]
        monkeypatch.setattr(measure, "measure", lambda *_: left.pop(0))
        return [
            measure.measure_undisturbed("SQLite", [], PLAN).other_load,
            *(each.other_load for each in left),
        ]

    assert measure_with_loads(0.03, 0.0) == [0.03, 0.0]
    assert measure_with_loads(0.2, 0.1, 0.0) == [0.1, 0.0]
    assert measure_with_loads(0.1, 0.2, 0.0) == [0.1, 0.0]


def test_peer_that_does_not_start_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    broken = registry.Peer("broken", (sys.executable, "-c", "raise SystemExit('no driver')"), ())
    assert measure.measure("memory", [broken], PLAN).results == {}
    assert "Left out: broken: broken does not respond: no driver" in capsys.readouterr().err


# -- targets ------------------------------------------------------------------------------------------------


def test_rival_is_the_fastest_peer() -> None:
    runs = {
        "FastAPI + cartapp.session, redis": {GET: [run(90), run(100), run(300)], PUT: [run(10)] * 3},
        "Litestar, redis": {GET: [run(30), run(20), run(10)], PUT: [run(4)] * 3},
        "Django, redis": {GET: [run(5)] * 3, PUT: [run(5)] * 3},
    }
    found = targets.matches("redis", runs)
    assert [(match.endpoint, match.rival, match.least) for match in found] == [
        (GET, "Litestar, redis", 3.5),
        (PUT, "Django, redis", 2.5),
    ]
    assert {match.ours for match in found} == {("FastAPI + cartapp.session, redis",)}


def test_ratio_is_the_median_of_ratios_within_rounds() -> None:
    # The median of 3, 5 and 30, not the ratio of the medians.
    assert targets.ratio([run(90), run(100), run(300)], [run(30), run(20), run(10)]) == 5


def test_target_is_judged_by_the_direct_comparison() -> None:
    target = next(target for target in targets.TARGETS if target.group == "SQLite")
    ours, rival = target.ours[0], target.rivals[0]

    def form(rate: float, p99: float, failed: int = 0) -> Samples:
        return Samples([run(rate)] * 3, [steady.Steady(100, 1.0, p99, failed)] * 3)

    def met(our_samples: Samples) -> str:
        match = targets.Match(target, GET, rival, (ours,))
        found = GroupResult({}, [(match, {ours: our_samples, rival: form(100, 2.0)})], [], 0.0)
        return report.targets(found={"SQLite": found})[1].splitlines()[-1].split(" | ")[-1].removesuffix(" |")

    assert met(form(500, 2.0)) == "yes"
    assert met(form(499, 2.0)) == "no: ratio"
    assert met(form(500, 2.1)) == "no: p99"
    assert met(form(500, 2.0, failed=1)) == "no: responses"


@pytest.mark.parametrize(
    ("reached", "least", "p99", "said"),
    [
        (3.5, 3.5, 2.0, "yes"),
        (3.49, 3.5, 2.0, "no: ratio"),
        (3.5, 3.5, 2.1, "no: p99"),
        (1.0, 1.0, 2.1, "no: ratio, p99"),
        (1.01, 1.0, 2.0, "yes"),
        (0.9, None, 9.0, "reported"),
    ],
)
def test_a_target_is_met_by_ratio_and_latency(
    reached: float, least: float | None, p99: float, said: str
) -> None:
    assert targets.verdict(reached, least, p99, 2.0) == said


# -- the report ---------------------------------------------------------------------------------------------


def test_tables() -> None:
    assert (
        report.table([["", "a", "b"], ["x", "1", "2"]]) == "|  | a | b |\n| --- | --: | --: |\n| x | 1 | 2 |"
    )


def test_disturbed_figures_are_marked_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "software", lambda *_: ["wrk 4"])  # wrk may not be installed
    found = {name: GroupResult({}, [], [], share) for name, share in (("redis", 0.15), ("files", 0.02))}
    text = report.text({"redis": [], "files": []}, [], found, PLAN, "make bench")
    assert re.findall(r"Invalid for.*", text) == [
        "Invalid for the group redis: other processes used 15% of the machine.**"
    ]


def test_page_keeps_text_around_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    first, last = report.SUMMARY
    page.write_text(f"# Speed\n\n{first}\n{last}\n\nOurs.\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n")
    monkeypatch.setattr(report, "PAGE", page)
    for text in ("new", "newer"):
        report.write(text, "first screen", "<svg/>", {"date": text})
    assert page.read_text() == (
        f"# Speed\n\n{first}\n\nfirst screen\n\n{last}\n\nOurs.\n\n"
        f"{report.BEGIN}\n\nnewer\n\n{report.END}\n\nMore.\n"
    )
    assert page.with_suffix(".svg").read_text() == "<svg/>"
    assert json.loads(page.with_suffix(".json").read_text()) == {"date": "newer"}


def test_docs_page_has_markers_for_the_tables() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    for marker in (report.BEGIN, report.END, *report.SUMMARY):
        assert text.count(marker) == 1


def group_by_hand() -> dict[str, GroupResult]:
    """Figures of the group PostgreSQL: the shop is twice as fast as by hand, the layer as fast."""
    rates = {
        "cartapp, PostgreSQL": 200,
        "FastAPI + cartapp.session, PostgreSQL": 100,
        "FastAPI + asyncpg by hand, PostgreSQL": 100,
    }
    results = {name: Result({at: [run(rate)] for at in ENDPOINTS}) for name, rate in rates.items()}
    samples = {name: Samples([run(rate)], [steady.Steady(60, 1.0, 2.0, 0)]) for name, rate in rates.items()}
    runs = {name: result.runs for name, result in results.items()}
    found = targets.matches("PostgreSQL", runs)
    return {"PostgreSQL": GroupResult(results, [(match, samples) for match in found], ["PostgreSQL 17"], 0.0)}


def test_rates_are_compared_with_sessions_by_hand() -> None:
    assert report.by_hand(group_by_hand()).splitlines()[-1] == (
        "| FastAPI + asyncpg by hand, PostgreSQL | 2.00 | 2.00 | 1.00 | 1.00 |"
    )


def test_results_are_written_as_json() -> None:
    workers = [WorkerRun("file", GET, 1, 10.0, 1.0, 0.25)]
    found = json.loads(json.dumps(as_json("make bench", "a machine", ["wrk 4"], group_by_hand(), workers)))
    assert found["groups"]["PostgreSQL"]["peers"]["cartapp, PostgreSQL"]["rates"][GET] == [200]
    assert [row["met"] for row in found["targets"]] == ["yes", "yes", "no: ratio", "yes"]
    assert found["workers"][0]["load"] == 0.25


def test_plot_has_a_bar_for_each_peer_and_endpoint() -> None:
    svg = ElementTree.fromstring(plot.draw(group_by_hand()["PostgreSQL"]))
    widths = [float(bar.attrib["width"]) for bar in svg.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 6
    assert widths[0] == widths[1] == 2 * widths[2]


def test_two_workers_are_compared_with_one() -> None:
    runs = [WorkerRun("file", GET, workers, 1000.0 * workers, 3.0, 0.2) for workers in (1, 2)]
    row = report.two_workers(runs)[-1].splitlines()[-1]
    assert row == "| cartapp, file | `GET /api/cart` | 1,000 | 2,000 | 2.00 | 3.0 | 3.0 | 20% | 20% |"


@pytest.mark.anyio
@pytest.mark.parametrize("url", ["file://{folder}/sessions", "sqlite:///{folder}/sessions.db"])
async def test_sessions_by_hand_are_read_as_written(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_SESSIONS", url.format(folder=tmp_path))
    monkeypatch.delitem(sys.modules, "benchmarks.peers.by_hand", raising=False)
    by_hand = importlib.import_module("benchmarks.peers.by_hand")
    async with by_hand.lifespan(None):
        assert await by_hand.store.get("../unknown") is None
        for data in ("{}", '{"visits": 2}'):
            await by_hand.store.set("../one", data)
            assert await by_hand.store.get("../one") == data
    monkeypatch.delitem(sys.modules, "benchmarks.peers.by_hand")


def test_page_size_includes_styles_and_scripts_but_no_pictures() -> None:
    text = """<link rel="stylesheet" href="/a.css"><link rel="icon" href="/i.svg"><img src="/p.svg">
        <script src="/b.js"></script><script type="module" src="/b.js"></script><script>inline</script>"""
    assert page.links(text) == ["/a.css", "/b.js"]


# -- quick runs --------------------------------------------------------------------------------------------


def test_quick_run_with_and_without_the_middleware() -> None:
    require_program("wrk", "apt-get install wrk")
    words = ("cartapp.session, memory", "taken out", "bare ASGI")
    arguments = ["--quick", "--group", "memory", *(part for word in words for part in ("--only", word))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    layer, _, bare = re.findall(r"^\| (?:FastAPI|a bare ASGI).*\d,?\d+.*\|$", done.stdout, re.MULTILINE)[:3]
    assert re.fullmatch(
        r"\| FastAPI \+ cartapp.session, memory(?: \| [\d,]+){4} \| 0 \| 0 \| 0 \| \d+ \|", layer
    )
    assert re.fullmatch(r"\| a bare ASGI function(?: \| [\d,]+){2} \|  \|  \|  \|  \|  \| \d+ \|", bare)
    assert "the layer installed, to the same application without it | `/ping`" in done.stdout


@pytest.mark.parametrize("backend", ["memory", "cookie"])
def test_shop_is_measured_in_process(backend: str) -> None:
    script = f"from benchmarks import inside; inside.BATCHES = 1; inside.main({backend!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert re.fullmatch(
        rf"{backend}   /ping \d+ µs   GET .+ µs   PUT .+ µs   /visit-counter \d+ µs\n", done.stdout
    )


def test_path_of_a_request_is_listed() -> None:
    command = [sys.executable, "-m", "benchmarks.path", "memory"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    get, put = done.stdout.split("\n\n")
    assert re.match(r"GET /api/cart: \d+ files, \d+ functions, \d+ calls\n", get)
    assert re.match(r"PUT /api/cart/1: \d+ files, \d+ functions, \d+ calls\n", put)
    assert "  web/shop/cart_api.py: show_cart\n" in get
    assert "  web/shop/cart_api.py: set_quantity" in put


def test_table_of_many_sessions() -> None:
    run = scale.Run(1.25, 0.5, 80.4, "")
    redis = scale.Figures("Redis", {"list": run}, {"copy": 8123.4}, {"idle": 1, "copy": 2})
    files = scale.Figures("files", {"list": run}, {"copy": 10, "purge --expired": 5}, {"idle": 1, "copy": 2})
    few, many = scale.Costs(0.1, 0.2, 0.4), scale.Costs(0.1, 0.22, 0.5)
    for figures in (redis, files):
        figures.costs, figures.growth = {10_000: many}, {10_000: many.over(few)}
    files.latency["purge --expired"] = 3
    rows = [line for line in scale.table([redis, files], 10_000).splitlines() if line.startswith("| ")]
    assert rows[1] == "| Redis | 1.25 s, 0.50, 80 |"
    assert rows[3:] == [
        "| | load | save | create |",
        "| Redis | 0.10, 1.00 | 0.22, 1.10 | 0.50, 1.25 |",
        "| files | 0.10, 1.00 | 0.22, 1.10 | 0.50, 1.25 |",
        "| | copy | purge --expired |",
        "| Redis | 8,123, 2.0 (1.0) | - |",
        "| files | 10, 2.0 (1.0) | 5, 3.0 (1.0) |",
    ]
    assert scale.growth_of_save(redis) == {10_000: pytest.approx(1.1)}
    found = json.loads(json.dumps(scale.results([redis, files], 10_000)))
    assert found["Redis"]["costs"]["10000"] == {"load": 0.1, "save": 0.22, "create": 0.5}
    assert found["files"]["commands"] == {"list": {"wall": 1.25, "cpu": 0.5, "peak": 80.4}}


def test_peak_memory_is_that_of_the_child() -> None:
    ballast = bytearray(b"x" * 200 * 2**20)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
    status, _, peak = scale.wait(child.pid)
    child.returncode = status
    assert len(ballast) == 200 * 2**20
    assert 1 < peak < 100


def test_curve_of_many_sessions() -> None:
    drawn = ElementTree.fromstring(curve.draw({"Redis": {1000: 0.2, 1_000_000: 0.3}, "files": {1000: 0.1}}))
    lines = [element.get("points") for element in drawn.iter() if element.tag.endswith("polyline")]
    assert lines == ["60.0,113.3 530.0,30.0", "60.0,196.7"]
