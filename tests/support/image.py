"""The image of deploy/Dockerfile without a container engine: its instructions and its build context."""

import re
import shutil
from pathlib import Path, PurePosixPath

from tests.support.project_files import tracked_names
from tests.support.shop_server import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORE_FILE = ROOT / "deploy" / "Dockerfile.dockerignore"


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction with this name."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", text, re.MULTILINE)


def copied_sources() -> list[str]:
    """Return what COPY instructions take from the build context; each keeps its path in the image."""
    found: list[str] = []
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        *sources, destination = line.split()
        assert destination == "./" or sources == [destination], line
        found += sources
    return found


def context() -> list[PurePosixPath]:
    """Return the tracked files that the ignore file leaves in the build context."""
    lines = IGNORE_FILE.read_text(encoding="utf-8").splitlines()
    rules = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    return [path for path in map(PurePosixPath, tracked_names()) if not is_ignored(path, rules)]


def is_ignored(path: PurePosixPath, rules: list[str]) -> bool:
    """Apply rules as Docker does: the last one that matches the path or a parent folder counts."""
    ignored = False
    for rule in rules:
        pattern = _pattern(rule.removeprefix("!"))
        if any(pattern.fullmatch(str(part)) for part in (path, *path.parents)):
            ignored = not rule.startswith("!")
    return ignored


def _pattern(rule: str) -> re.Pattern[str]:
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", rule.strip("/"))
    return re.compile("".join(wildcards.get(part, re.escape(part)) for part in parts))


def copy_sources(folder: Path) -> None:
    """Create in a folder what the COPY instructions create in the image."""
    sources = copied_sources()
    for path in context():
        if any(path.is_relative_to(source) for source in sources):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path, follow_symlinks=False)
