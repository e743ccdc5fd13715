"""The project's own files: lock files, and no paths of one machine in the tree."""

import re
import tomllib
from itertools import chain
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from cartapp.session.stores import BACKENDS
from cartapp.session.stores.sql.dialects import dialect_from_url
from tests.browser.screenshots import FILM, PAGES, WIDTHS
from tests.support.project_files import matching_lines, tracked_files
from tests.support.shop_server import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LIBRARY = tomllib.loads((ROOT / "packages/session/pyproject.toml").read_text())["project"]
LOCKS = ("run", "deploy", "dev", "bench")

PINNED = re.compile(
    r"(?P<name>[\w.-]+)(\[[\w,.-]+\])?==(?P<version>[^ ;]+)( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+"
)
"""One requirement of a lock file: exactly one version, and at least one hash."""

MACHINE = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/\w")
"""A path of one machine."""

SOURCE = re.compile(r"index[-_]url|find[-_]links|trusted[-_]host|tool\.uv\.(?:index|sources)")
"""Settings of package sources, which are left to each machine."""


def lock(name: str) -> str:
    return (ROOT / "lock" / f"{name}.txt").read_text()


def versions(name: str) -> dict[str, set[Version]]:
    """Return the locked versions of each package; several if markers choose one."""
    found: dict[str, set[Version]] = {}
    for pin in PINNED.finditer(lock(name)):
        found.setdefault(canonicalize_name(pin["name"]), set()).add(Version(pin["version"]))
    return found


def group(name: str) -> list[Requirement]:
    """Return a dependency group with the groups it includes (PEP 735)."""
    found: list[Requirement] = []
    for item in PROJECT["dependency-groups"][name]:
        found += [Requirement(item)] if isinstance(item, str) else group(item["include-group"])
    return found


def requirements(name: str) -> list[Requirement]:
    """Return the requirements that the lock file must satisfy."""
    project = PROJECT["project"]
    found = [Requirement(item) for item in project["dependencies"]] + group("build")
    if name == "run":
        return found
    extras = project["optional-dependencies"]
    if name == "deploy":
        return found + [Requirement(item) for item in extras["postgresql"]]
    found += [Requirement(item) for extra in extras.values() for item in extra]
    return found + group("dev") + (group("bench") if name == "bench" else [])


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    assert not PINNED.sub("", lock(name)).strip()


@pytest.mark.parametrize("name", LOCKS)
def test_lock_satisfies_pyproject(name: str) -> None:
    locked = versions(name)
    for requirement in requirements(name):
        found = locked.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement} is not in lock/{name}.txt; run `make lock`"
        assert all(requirement.specifier.contains(version) for version in found), (
            f"{requirement}: {found}; run `make lock`"
        )


def test_locks_agree() -> None:
    run, deploy, dev, bench = (versions(name) for name in LOCKS)
    assert run.items() <= deploy.items() <= dev.items() <= bench.items()


def test_both_distributions_have_one_version_and_one_licence() -> None:
    assert LIBRARY["version"] == PROJECT["project"]["version"]
    assert (ROOT / "packages/session/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def bounds(project: dict[str, Any]) -> dict[str, Version]:
    """Return the lower bound of each package; it has one in all extras."""
    found: dict[str, Version] = {}
    extras = project["optional-dependencies"].values()
    for requirement in map(Requirement, chain(project["dependencies"], *extras)):
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        assert found.setdefault(requirement.name, Version(bound.version)) == Version(bound.version)
    return found


def test_the_shop_requires_at_least_the_bounds_of_the_library() -> None:
    library, shop = bounds(LIBRARY), bounds(PROJECT["project"])
    assert library.keys() - shop.keys() == {"pytest", "httpx2"}
    assert all(library[name] <= shop[name] for name in library.keys() & shop.keys())
    extras = LIBRARY["optional-dependencies"]
    for name, listed in PROJECT["project"]["optional-dependencies"].items():
        assert [*map(without_versions, listed)] == [*map(without_versions, extras[name])]


def test_the_decisions_list_the_bounds() -> None:
    page = (ROOT / "docs" / "decisions.md").read_text().partition("\n## Compatibility\n")[2]
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]*) \| ([\d.]*) \| ", page, re.MULTILINE)
    for number, project in ((1, PROJECT["project"]), (2, LIBRARY)):
        listed = {row[0]: Version(row[number]) for row in rows if row[number]}
        assert listed.items() <= bounds(project).items()
        assert bounds(LIBRARY).keys() - {"pytest", "httpx2"} <= listed.keys()


def test_extras_name_the_drivers_of_install_commands() -> None:
    needed = {backend.name: backend.packages for backend in BACKENDS if backend.name != "database"}
    for engine in ("postgresql", "mysql", "mariadb", "mssql", "firebird"):
        needed[engine] = dialect_from_url(f"{engine}://host//database", 1).packages
    for name, packages in needed.items():
        listed = LIBRARY["optional-dependencies"].get(name, [])
        assert [*map(without_versions, listed)] == [*packages]


def without_versions(text: str) -> str:
    """Return a requirement without its versions."""
    requirement = Requirement(text)
    requirement.specifier = SpecifierSet()
    return str(requirement)


def test_no_file_names_a_machine() -> None:
    assert not matching_lines(MACHINE, tracked_files())


def test_build_configures_no_package_index() -> None:
    build = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "lock").iterdir()]
    assert not matching_lines(SOURCE, build)


def test_every_page_has_its_pictures() -> None:
    folder = ROOT / "docs" / "screenshots"
    shown = re.findall(r'src="screenshots/([^"]+)"', (ROOT / "docs" / "pages.md").read_text())
    taken = {path.name: path.stat().st_size for path in folder.iterdir()}
    film = re.findall(r'src="docs/screenshots/([^"]+)"', (ROOT / "README.md").read_text())
    assert sorted([*shown, *film]) == sorted(taken)
    assert set(shown) == {f"{name}-{width}.webp" for name in PAGES for width in WIDTHS}
    assert len(film) == len(FILM)
    assert sum(taken[name] for name in film) < 300_000
    assert sum(taken.values()) < 3_000_000
