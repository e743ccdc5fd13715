"""The project's own files: the locked packages, and nothing in the tree that belongs to one machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .browser.screenshots import PAGES, WIDTHS
from .needs import unmet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("run", "dev", "bench")

PINNED = re.compile(
    r"(?P<name>[\w.-]+)(\[[\w,.-]+\])?==(?P<version>[^ ;]+)( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
)
"""One requirement of a lock file: exactly one version, and at least one hash."""

MACHINE = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
"""A path that only one machine has."""

SOURCE = re.compile(r"index[-_]url|find[-_]links|trusted[-_]host|tool\.uv\.(?:index|sources)")
"""Where packages come from is the machine's own choice."""


def lock(name: str) -> str:
    return (ROOT / "lock" / f"{name}.txt").read_text()


def versions(name: str) -> dict[str, set[Version]]:
    """The locked versions of each package; more than one where markers choose."""
    found: dict[str, set[Version]] = {}
    for pin in PINNED.finditer(lock(name)):
        found.setdefault(canonicalize_name(pin["name"]), set()).add(Version(pin["version"]))
    return found


def group(name: str) -> list[Requirement]:
    """A dependency group with the groups it includes (PEP 735)."""
    found: list[Requirement] = []
    for item in PROJECT["dependency-groups"][name]:
        found += [Requirement(item)] if isinstance(item, str) else group(item["include-group"])
    return found


def asked_for(name: str) -> list[Requirement]:
    """What the lock file must satisfy."""
    project = PROJECT["project"]
    found = [Requirement(item) for item in project["dependencies"]] + group("build")
    if name == "run":
        return found
    found += [Requirement(item) for extra in project["optional-dependencies"].values() for item in extra]
    return found + group("dev") + (group("bench") if name == "bench" else [])


def tracked() -> list[Path]:
    """The text files that belong to the project."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        unmet("git", "The tree is not a git checkout; clone it to have its files looked through.")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8000]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    assert not PINNED.sub("", lock(name)).strip()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_satisfies_pyproject(name: str) -> None:
    locked = versions(name)
    for wanted in asked_for(name):
        found = locked.get(canonicalize_name(wanted.name), set())
        assert found, f"{wanted} is not in lock/{name}.txt; run `make lock`"
        assert all(wanted.specifier.contains(version) for version in found), (
            f"{wanted}: {found}; run `make lock`"
        )


def test_locks_agree() -> None:
    run, dev, bench = (versions(name) for name in LOCKS)
    assert run.items() <= dev.items() <= bench.items()


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_knows_a_machine() -> None:
    assert not lines_with(MACHINE, tracked())


def test_the_build_names_no_source_of_packages() -> None:
    build = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "lock").iterdir()]
    assert not lines_with(SOURCE, build)


def test_every_page_has_its_pictures() -> None:
    folder = ROOT / "docs" / "screenshots"
    shown = re.findall(r'src="screenshots/([^"]+)"', (ROOT / "docs" / "pages.md").read_text())
    taken = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sorted(shown) == sorted(taken)
    assert set(taken) == {f"{name}-{width}.webp" for name in PAGES for width in WIDTHS}
    assert sum(taken.values()) < 3_000_000
