"""Run everything that the README shows, and compare the output and the figures."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from benchmarks.__main__ import choose, options
from tests.support.shop_server import ROOT, Shop, running_shop

README = (ROOT / "README.md").read_text()
TOUR = re.compile(r"^\$ (curl .*(?:\\\n.*)*)\n(\{.*\})$", re.MULTILINE)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("readme")
    with running_shop(folder, {}, workers=1) as running:
        yield running


def test_curl_commands_respond_as_printed(shop: Shop) -> None:
    steps = TOUR.findall(README)
    assert len(steps) == 6
    for command, expected in steps:
        command = command.replace("http://localhost:7147", shop.url).replace("curl ", "curl -s ", 1)
        done = subprocess.run(command, shell=True, cwd=shop.folder, capture_output=True, check=True)
        assert done.stdout.decode() == expected


@pytest.mark.anyio
async def test_ten_line_example_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code == (ROOT / "examples" / "fastapi_app.py").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, object] = {"__name__": "readme"}
    exec(code, names)
    transport = httpx.ASGITransport(names["app"])  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
        assert [(await client.get("/")).json() for _ in range(3)] == [{"visits": n} for n in (1, 2, 3)]


def test_cart_commands_succeed(shop: Shop) -> None:
    commands = re.findall(r"^\$ cart (.+)$", README, re.MULTILINE)
    assert len(commands) == 6
    for command in commands:
        cart = [sys.executable, str(ROOT / "cli.py"), *shlex.split(command)]
        subprocess.run(cart, cwd=shop.folder, stdin=subprocess.DEVNULL, capture_output=True, check=True)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"run", "test", "bench"} <= set(re.findall(r"[`$] ?make ([a-z-]+)", README)) <= targets


def claims() -> dict[str, tuple[str, list[str]]]:
    """The table of measured claims: text and command by the first words."""
    rows = re.findall(r"^\| \*\*(.+?)\*\*: (.+) \| `(.+)` \|$", README, re.MULTILINE)
    return {title: (text, shlex.split(command)) for title, text, command in rows}


def test_claimed_interleavings_are_those_of_the_quick_suite() -> None:
    """`test_explorer.py` explores this suite and compares the number of schedules."""
    _, command = claims()["No lost update"]
    assert command[1:] == ["-m", "tests.session.explorer", "--suite", "quick"]
    suites = [sys.executable, "-m", "tests.session.explorer", "--help"]
    output = subprocess.run(suites, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--suite {quick," in output


def test_claimed_ratios_match_the_performance_page() -> None:
    text, command = claims()["Fast"]
    chosen = options(shlex.split(command[-1].removeprefix("ARGS=")))
    names = {peer.name for peer in choose(chosen.group, chosen.only)["redis"]}
    by_hand = "FastAPI + redis-py by hand, redis"
    assert {"cartapp, redis", by_hand} <= names
    page = (ROOT / "docs" / "performance.md").read_text()
    ratios = re.findall(rf"\| cartapp, redis \| {re.escape(by_hand)} \| ([\d.]+) \|", page)
    assert ratios == re.findall(r"\d\.\d\d", text)
    (lost,) = re.findall(r"(\d+) of 200 concurrent adds are lost", text)
    assert re.search(rf"^\| {re.escape(by_hand)} \|(?: [\d,]+ \|){{4}} {lost} \| 0 \|", page, re.MULTILINE)
    assert re.search(r"^\| cartapp, redis \|(?: [\d,]+ \|){4} 0 \| 0 \|", page, re.MULTILINE)


def test_claimed_fault_matches_the_fault_table() -> None:
    text, command = claims()["No false response"]
    collected = subprocess.run(
        [sys.executable, *command[1:], "--collect-only", "-q"], cwd=ROOT, capture_output=True, text=True
    )
    assert "redis" in collected.stdout
    page = (ROOT / "docs" / "backends.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| server killed, started again |"))
    redis = row.split(" | ")[2]
    (claimed,) = re.findall(r"less than ([\d.]+) s", text)
    assert float(redis.split("; ")[1].removesuffix(" s")) < float(claimed)
    assert "lost" not in redis


def test_library_readme_shows_the_same_example() -> None:
    library = (ROOT / "packages" / "session" / "README.md").read_text()
    assert f"```python\n{(ROOT / 'examples' / 'fastapi_app.py').read_text()}```" in library


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
