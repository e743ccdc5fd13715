"""The table of backends and promises: how it is made, and that the one in the documentation was made so."""

import subprocess
import sys
from pathlib import Path

import pytest

from cartapp.session.stores import BACKENDS

from .evidence import (
    BEGIN,
    CANNOT,
    COLLECTED,
    END,
    FAULTS_SECTION,
    NO,
    NOT_RUN,
    PROMISES,
    ROWS,
    SECTION,
    YES,
    Evidence,
    digest,
)
from .fault_matrix.names import FAULTS
from .needs import unmet
from .running import ROOT
from .stores import STORES

DOCUMENT = ROOT / "docs" / "backends.md"


def rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def section() -> str:
    found = SECTION.search(DOCUMENT.read_text())
    assert found, "run `make table`"
    return found[1]


# -- the one in the documentation ---------------------------------------------------------------------------


def test_nobody_changed_it_by_hand(section: str) -> None:
    assert f"{BEGIN}\n{section}\n{END.format(digest=digest(section))}" in DOCUMENT.read_text()


def test_nobody_changed_the_faults_by_hand() -> None:
    found = FAULTS_SECTION.search(DOCUMENT.read_text())
    assert found, "run `make table`"
    assert digest(found[1]) == found[2]
    lines = {line[0] for line in rows(found[1])[2:]}
    assert lines == set(FAULTS.values())


def test_it_names_every_backend_and_promise(section: str) -> None:
    head, _, *lines = rows(section)
    assert head == ["backend", "version", *(str(promise) for promise in PROMISES)]
    assert [line[0] for line in lines] == list(ROWS.values())
    named = {label.split("`")[1] for label in ROWS.values()}
    assert named == {backend.name for backend in BACKENDS}
    assert set(STORES) <= set(ROWS)
    assert {cell for line in lines for cell in line[2:]} <= {YES, NO, NOT_RUN}


def test_it_has_a_dash_exactly_where_a_backend_cannot(section: str) -> None:
    for backend, line in zip(ROWS, rows(section)[2:], strict=True):
        dashes = {promise for promise in PROMISES if line[1 + promise] == NO}
        assert dashes == CANNOT.get(backend, set())


def test_each_tick_has_a_test_and_each_test_a_tick(section: str, request: pytest.FixtureRequest) -> None:
    """Of the tests that the suite now has; those of a server that was not there have none."""
    collected = request.config.stash[COLLECTED]
    if not marked_files() <= {file for file, _ in collected}:
        unmet("the whole suite", "Only a part of the suite was collected.")
    lines = dict(zip(ROWS, rows(section)[2:], strict=True))
    ticked = {
        (backend, promise) for backend in ROWS for promise in PROMISES if lines[backend][1 + promise] == YES
    }
    tested = {cell for _, cell in collected if cell[1] not in CANNOT.get(cell[0], ())}
    assert ticked == {cell for cell in tested if cell[0] != "database-mssql"}, "run `make table`"


def marked_files() -> set[Path]:
    """Those that hold promises, by their text."""
    files = Path(__file__).parent.glob("test_*.py")
    return {path for path in files if path != Path(__file__) and "mark.promise(" in path.read_text()}


# -- how it is made -----------------------------------------------------------------------------------------


def evidence(*outcomes: str) -> Evidence:
    """Of one test for each of these outcomes, of the first promise on files."""
    made = Evidence()
    for outcome in outcomes:
        made.add([("promise", ["file", 1]), ("other", "property")], outcome)
    return made


@pytest.mark.parametrize(
    ("outcomes", "mark"),
    [
        (["passed"], YES),
        (["passed", "passed"], YES),
        ([], NOT_RUN),
        (["skipped"], NOT_RUN),
        (["passed", "skipped"], NOT_RUN),
        (["passed", "failed"], NOT_RUN),
    ],
)
def test_a_tick_only_for_what_ran_and_passed(outcomes: list[str], mark: str) -> None:
    assert evidence(*outcomes).mark("file", 1) == mark
    assert evidence(*outcomes).mark("file", 2) == NOT_RUN
    assert evidence(*outcomes).mark("redis", 1) == NOT_RUN


def test_what_a_backend_cannot_have_is_never_ticked() -> None:
    made = Evidence()
    made.add([("promise", ["cookie", 1])], "passed")
    assert made.mark("cookie", 1) == NO


SUITE = """
import pytest

@pytest.mark.promise(1, 2)
@pytest.mark.parametrize("backend", ["file", "redis_server"])
def test_holds(backend, record_property):
    record_property("version", [backend.removesuffix("_server"), "7.0"])

@pytest.mark.promise(2, backend="redis")
def test_skipped():
    pytest.skip("It is not there.")

def test_of_no_promise():
    assert False
"""
FAILING = """
@pytest.mark.promise(3, backend="file")
def test_fails():
    assert False
"""


def run(folder: Path, suite: str, *options: str) -> tuple[int, str]:
    """A run of this suite with the plugin, and the document after it."""
    (folder / "test_suite.py").write_text(suite)
    document = folder / "table.md"
    document.write_text(f"Before\n{BEGIN}\nnothing\n{END.format(digest=0)}\nAfter\n")
    plugins = ["-p", "xdist.plugin", "-p", "tests.evidence"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, f"--rootdir={folder}"]
    # Without the plugins that happen to be installed: they take a second or two to import.
    python = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [*command, f"--write-table={document}", *options],
        cwd=folder,
        env=python,
        capture_output=True,
        timeout=60,
    )
    return done.returncode, document.read_text()


@pytest.mark.parametrize("options", [[], ["-n", "2"]])
def test_a_run_writes_what_it_saw(tmp_path: Path, options: list[str]) -> None:
    code, text = run(tmp_path, SUITE, *options)
    assert code == 0
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    found = SECTION.search(text)
    assert found
    assert digest(found[1]) == found[2]
    lines = {line[0]: line[1:] for line in rows(found[1])}
    assert lines["`file`"] == ["7.0", YES, YES] + [NOT_RUN] * 10
    assert lines["`redis`"] == ["7.0", YES] + [NOT_RUN] * 11
    assert lines["`valkey`"] == [""] + [NOT_RUN] * 12
    assert "2 tests of these promises passed" in found[1]


@pytest.mark.parametrize(
    ("suite", "options"),
    [
        (SUITE + FAILING, []),
        (SUITE, ["-k", "holds"]),
        (SUITE, ["test_suite.py"]),
        (SUITE.replace('backend="redis"', 'backend="rediss"'), []),
    ],
    ids=["failed", "chosen", "one file", "no backend"],
)
def test_a_run_that_shows_less_writes_nothing(tmp_path: Path, suite: str, options: list[str]) -> None:
    code, text = run(tmp_path, suite, *options)
    assert code != 0
    assert "nothing" in text
