"""What the README shows is run, and must answer as printed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.running import ROOT, Shop, running_shop

README = (ROOT / "README.md").read_text()
TOUR = re.compile(r"^\$ (curl .*(?:\\\n.*)*)\n(\{.*\})$", re.MULTILINE)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder: Path = tmp_path_factory.mktemp("readme")
    with running_shop(folder, {}, workers=1) as running:
        yield running


def test_the_curl_tour_answers_as_printed(shop: Shop) -> None:
    steps = TOUR.findall(README)
    assert len(steps) == 6
    for command, expected in steps:
        command = command.replace("http://localhost:7147", shop.url).replace("curl ", "curl -s ", 1)
        done = subprocess.run(command, shell=True, cwd=shop.folder, capture_output=True, check=True)
        assert done.stdout.decode() == expected


@pytest.mark.anyio
async def test_the_ten_lines_work() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert code == (ROOT / "examples" / "fastapi_app.py").read_text()
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names: dict[str, object] = {"__name__": "readme"}
    exec(code, names)
    transport = httpx.ASGITransport(names["app"])  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
        assert [(await client.get("/")).json() for _ in range(3)] == [{"visits": n} for n in (1, 2, 3)]


def test_every_linked_file_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
