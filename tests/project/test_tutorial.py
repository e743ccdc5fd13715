"""The tutorial's commands, run in one shell, print the output shown."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.servers.process import Server, accepts, free_port
from tests.support.shop_server import ROOT, running_shop

TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
END = "-- end of a step --"

Step = tuple[str, str]  # a command, and what it prints


def steps() -> list[Step]:
    """Return each command of the console blocks with the output below it."""
    blocks = re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    found = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, printed) for command, _, printed in (step.partition("\n") for step in found)]


def pattern(printed: str) -> str:
    """Return a pattern where `…` matches part of a line or, alone on a line, any number of lines."""
    parts = ["(.*\n)*?" if line == "…\n" else _line(line) for line in printed.splitlines(keepends=True)]
    return "".join(parts)


def _line(line: str) -> str:
    return ".*".join(map(re.escape, line.rstrip("\n").split("…"))) + r"\n?"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Run all commands; yield the output of each."""
    folder: Path = tmp_path_factory.mktemp("tutorial")
    port = free_port()
    example = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", str(port)]
    with ExitStack() as stack:
        shop = stack.enter_context(running_shop(folder, {}, workers=1))
        logs = tmp_path_factory.mktemp("example")
        stack.enter_context(
            Server(example, folder=logs, ready=lambda: accepts(port), env={"PYTHONPATH": str(ROOT)})
        )
        script = "".join(f"{command}\necho; echo '{END}'\n" for command, _ in steps())
        script = script.replace("http://localhost:7147", shop.url)
        script = script.replace("http://localhost:8000", f"http://127.0.0.1:{port}")
        script = script.replace(".venv/bin/cart", f"{sys.executable} {ROOT / 'cli.py'}")
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
        yield [part.rstrip("\n") for part in done.stdout.split(f"{END}\n")[:-1]]


def test_every_block_is_executed() -> None:
    commands = [command for command, _ in steps()]
    assert len(commands) == TUTORIAL.count("\n$ ") > 20
    assert all(command.count("'") % 2 == 0 for command in commands)


@pytest.mark.parametrize(("number", "step"), list(enumerate(steps())))
def test_steps_respond_as_printed(printed: list[str], number: int, step: Step) -> None:
    command, expected = step
    shown = printed[number].replace("\r", "")
    assert re.fullmatch(pattern(expected), shown and f"{shown}\n"), f"$ {command}\n{shown}"


def test_example_matches_examples_folder() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    assert code == (ROOT / "examples" / "fastapi_app.py").read_text()


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", TUTORIAL) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
