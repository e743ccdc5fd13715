"""Search the text files of the project."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.requirements import skip_or_fail
from tests.support.shop_server import ROOT


def tracked_names() -> list[str]:
    """Return the paths of the project's files, relative to its folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        skip_or_fail("git", "The tree is not a git checkout; clone it to check its files.")
    return [name for name in listed.stdout.split("\0") if name]


def tracked_files() -> list[Path]:
    """Return the project's text files."""
    paths = [ROOT / name for name in tracked_names()]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


def matching_lines(pattern: re.Pattern[str], paths: Iterable[Path]) -> list[str]:
    """Return lines that match, as `path:number: text`."""
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]
