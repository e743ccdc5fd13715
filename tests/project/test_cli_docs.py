"""docs/cli.md is the help of the commands, and each help has an example."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.environment import clean_environment
from tests.support.shop_server import ROOT

PAGE = ROOT / "docs" / "cli.md"
COMMAND = [sys.executable, "-m", "typer", "cartapp.commands", "utils", "docs", "--name", "cart"]
SECTION = re.compile(r"^#+ `(cart[a-z ]*)`\n(.*?)(?=^#+ `|\Z)", re.MULTILINE | re.DOTALL)


def sections() -> dict[str, str]:
    """Return the help of each command and group."""
    return dict(SECTION.findall(PAGE.read_text()))


def command_sections() -> dict[str, str]:
    """Return the help of each command, without groups."""
    return {name: text for name, text in sections().items() if "COMMAND [ARGS]" not in text}


def locked_version(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (ROOT / "lock" / "dev.txt").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.skipif(
    version("typer") != locked_version("typer"),
    reason="requires the Typer of lock/dev.txt, which wrote the page",
)
def test_the_page_is_current(tmp_path: Path) -> None:
    out = tmp_path / "cli.md"
    subprocess.run([*COMMAND, "--output", str(out)], cwd=ROOT, env=clean_environment(), check=True)
    assert PAGE.read_text() == out.read_text(), "Run `make cli`."


def test_every_help_has_an_example_of_its_command() -> None:
    assert len(command_sections()) > 20
    assert {"cart", "cart sessions", "cart catalogue"} <= set(sections()) - set(command_sections())
    for name, text in sections().items():
        example = re.search(r"^Example: (.+)$", text, re.MULTILINE)
        assert example is not None, name
        assert example[1].startswith(name), name


@pytest.mark.parametrize("name", command_sections())
def test_options_of_the_example_exist(name: str) -> None:
    example = re.search(r"^Example: (.+)$", sections()[name], re.MULTILINE)
    assert example is not None
    given = [word for word in shlex.split(example[1].partition(">")[0]) if word.startswith("--")]
    assert [option for option in given if f"`{option}" not in sections()[name]] == []
