"""The project's own files: lock files, and no paths of one machine in the tree."""

import re
import tomllib

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
LOCKS = ("run", "dev", "bench")

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
    found += [Requirement(item) for extra in project["optional-dependencies"].values() for item in extra]
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
    run, dev, bench = (versions(name) for name in LOCKS)
    assert run.items() <= dev.items() <= bench.items()


def test_both_distributions_have_one_version_and_one_licence() -> None:
    assert LIBRARY["version"] == PROJECT["project"]["version"]
    assert (ROOT / "packages/session/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_both_distributions_have_the_same_bounds() -> None:
    extras, shop = LIBRARY["optional-dependencies"], PROJECT["project"]["optional-dependencies"]
    assert {name: extras[name] for name in shop} == shop
    base = {*PROJECT["project"]["dependencies"]}
    assert {*LIBRARY["dependencies"], *extras["encryption"], *extras["sql"]} <= base


def test_extras_name_the_drivers_of_install_commands() -> None:
    needed = {backend.name: backend.packages for backend in BACKENDS if backend.name != "database"}
    for engine in ("postgresql", "mysql", "mariadb", "mssql", "firebird"):
        needed[engine] = dialect_from_url(f"{engine}://host//database", 1).packages
    for name, packages in needed.items():
        listed = [Requirement(text) for text in LIBRARY["optional-dependencies"].get(name, [])]
        assert [without_versions(requirement) for requirement in listed] == [*packages]


def without_versions(requirement: Requirement) -> str:
    """Return a requirement without its versions."""
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
