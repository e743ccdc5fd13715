"""The benchmark: its arithmetic, its tables, and a glance at two of its peers."""

import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import measure, page, registry, report, steady, targets, visitors
from benchmarks.__main__ import PLAN, choose, options
from benchmarks.measure import Form, Found
from benchmarks.registry import ENDPOINTS, GET, GROUPS, PUT
from benchmarks.wrk import BenchmarkError, Measured
from tests.needs import program
from tests.running import ROOT
from tests.servers.process import Server, accepts, free_port

NAMES = {name: {peer.name for peer in peers} for name, peers in GROUPS.items()}


def run(rate: float, failed: int = 0) -> Measured:
    return Measured(count=int(rate), failed=failed, rate=rate, p50=1.0, p99=2.0)


@contextmanager
def bare_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [part.format(port=port) for part in registry.uvicorn("bare_asgi")]
    with Server(command, folder=folder, ready=lambda: accepts(port), env={"PYTHONPATH": str(ROOT)}):
        yield f"http://127.0.0.1:{port}"


# -- who is measured --------------------------------------------------------------------------------------


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


def test_a_glance_may_be_longer() -> None:
    assert options(["--quick"]).plan.rounds == 1
    assert options(["--quick", "--rounds", "3"]).plan.rounds == 3
    assert options([]).plan.rounds > 1


# -- requests -----------------------------------------------------------------------------------------------


def test_requests_go_round_all_sessions_and_change_them() -> None:
    peer = GROUPS["SQLite"][1]
    found = visitors.requests(peer, ["s=1", "s=2"])
    assert set(found) == set(ENDPOINTS)
    assert found[GET] == [
        b"GET /api/cart HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: s=%d\r\n\r\n" % number for number in (1, 2)
    ]
    assert len(set(found[PUT])) == 2 * len(visitors.QUANTITIES)
    assert found[PUT][0].endswith(b'Content-Length: 15\r\n\r\n{"quantity": 2}')


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_complete_with_its_last_byte(answer: bytes, whole: bool) -> None:
    assert steady.complete(answer) is whole


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert steady.percentile(values, 0.5) == 50
    assert steady.percentile(values, 0.99) == 99
    assert steady.percentile([7.0], 0.99) == 7


def test_a_fixed_rate_is_kept_and_every_answer_counted(tmp_path: Path) -> None:
    with bare_server(tmp_path) as url:
        found = steady.run(url, [b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], rate=200, seconds=0.5)
    assert (found.rate, found.failed) == (200, 0)
    assert 0 < found.p50 <= found.p99


def test_what_is_not_answered_with_200_is_counted(tmp_path: Path) -> None:
    refused = b"nonsense\r\n\r\n"  # answered with 400, and the connection is closed
    with bare_server(tmp_path) as url:
        assert steady.run(url, [refused], rate=200, seconds=0.5).failed == 100


def test_a_server_that_hangs_up_is_no_measurement() -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(BenchmarkError, match="hung up"):
                steady.run(url, [b"GET / HTTP/1.1\r\n\r\n"], rate=200, seconds=0.5)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("failed", [0, 1])
def test_wrong_answers_are_never_fast_enough(failed: int) -> None:
    assert targets.verdict(9.0, 3.5, 1.0, 2.0, failed) == ("no: answers" if failed else "yes")


def test_a_disturbed_group_is_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*shares: float) -> list[float]:
        left = [Found({}, [], [], share) for share in shares]
        monkeypatch.setattr(measure, "measure", lambda *_: left.pop(0))
        return [measure.measure_quietly("SQLite", [], PLAN).strangers, *(each.strangers for each in left)]

    assert taken(0.03, 0.0) == [0.03, 0.0]
    assert taken(0.2, 0.1, 0.0) == [0.1, 0.0]
    assert taken(0.1, 0.2, 0.0) == [0.1, 0.0]


# -- targets ------------------------------------------------------------------------------------------------


def test_the_rival_is_the_best_that_was_measured() -> None:
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


def test_a_ratio_is_the_median_of_those_within_the_rounds() -> None:
    # Of 3, 5 and 30: not that of the medians.
    assert targets.ratio([run(90), run(100), run(300)], [run(30), run(20), run(10)]) == 5


def test_a_target_is_judged_by_the_rounds_of_those_compared_alone() -> None:
    target = next(target for target in targets.TARGETS if target.group == "SQLite")
    ours, rival = target.ours[0], target.rivals[0]

    def form(rate: float, p99: float, failed: int = 0) -> Form:
        return Form([run(rate)] * 3, [steady.Steady(100, 1.0, p99, failed)] * 3)

    def met(of_ours: Form) -> str:
        match = targets.Match(target, GET, rival, (ours,))
        found = Found({}, [(match, {ours: of_ours, rival: form(100, 2.0)})], [], 0.0)
        return report.targets(found={"SQLite": found})[1].splitlines()[-1].split(" | ")[-1].removesuffix(" |")

    assert met(form(500, 2.0)) == "yes"
    assert met(form(499, 2.0)) == "no: ratio"
    assert met(form(500, 2.1)) == "no: p99"
    assert met(form(500, 2.0, failed=1)) == "no: answers"


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


def test_figures_that_others_disturbed_are_called_untrue() -> None:
    found = {name: Found({}, [], [], share) for name, share in (("redis", 0.15), ("files", 0.02))}
    text = report.text({"redis": [], "files": []}, [], found, PLAN, "make bench")
    assert re.findall(r"Not true.*", text) == [
        "Not true of the group redis: other processes used 15% of the machine meanwhile.**"
    ]


def test_the_page_keeps_what_stands_around_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\n\nOurs.\n\n{report.BEGIN}\nold\n{report.END}\n\nMore.\n")
    monkeypatch.setattr(report, "PAGE", page)
    report.write("new")
    report.write("newer")
    assert page.read_text() == f"# Speed\n\nOurs.\n\n{report.BEGIN}\n\nnewer\n\n{report.END}\n\nMore.\n"


def test_the_page_in_docs_has_a_place_for_the_tables() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_a_start_page_is_weighed_with_styles_and_scripts_but_no_pictures() -> None:
    text = """<link rel="stylesheet" href="/a.css"><link rel="icon" href="/i.svg"><img src="/p.svg">
        <script src="/b.js"></script><script type="module" src="/b.js"></script><script>inline</script>"""
    assert page.links(text) == ["/a.css", "/b.js"]


# -- the whole ----------------------------------------------------------------------------------------------


def test_a_glance_at_the_layer_and_without_it() -> None:
    program("wrk", "apt-get install wrk")
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
def test_the_shop_is_measured_from_inside(backend: str) -> None:
    script = f"from benchmarks import inside; inside.BATCHES = 1; inside.main({backend!r})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert re.fullmatch(
        rf"{backend}   /ping \d+ µs   GET .+ µs   PUT .+ µs   /visit-counter \d+ µs\n", done.stdout
    )
