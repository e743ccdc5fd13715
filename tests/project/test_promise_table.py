"""The table of backends and promises: its generation, and the generated table in the documentation."""

import subprocess
import sys
from pathlib import Path

import pytest

from cartapp.session.stores.registry import BACKENDS
from tests.support.promise_table import (
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
    PromiseResults,
    digest,
)
from tests.support.requirements import skip_or_fail
from tests.support.shop_server import ROOT
from tests.support.stores import STORES
from tests.system.fault_matrix.names import FAULTS

DOCUMENT = ROOT / "docs" / "backends.md"


def rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def section() -> str:
    found = SECTION.search(DOCUMENT.read_text())
    assert found, "run `make table`"
    return found[1]


# -- the documentation --------------------------------------------------------------------------------------


def test_table_was_not_edited_by_hand(section: str) -> None:
    assert f"{BEGIN}\n{section}\n{END.format(digest=digest(section))}" in DOCUMENT.read_text()


def test_fault_table_was_not_edited_by_hand() -> None:
    found = FAULTS_SECTION.search(DOCUMENT.read_text())
    assert found, "run `make table`"
    assert digest(found[1]) == found[2]
    lines = {line[0] for line in rows(found[1])[2:]}
    assert lines == set(FAULTS.values())


def test_table_has_every_backend_and_promise(section: str) -> None:
    head, _, *lines = rows(section)
    assert head == ["backend", "version", *(str(promise) for promise in PROMISES)]
    assert [line[0] for line in lines] == list(ROWS.values()), "run `make table`"
    named = {label.split("`")[1] for label in ROWS.values()}
    assert named == {backend.name for backend in BACKENDS}
    assert set(STORES) <= set(ROWS)
    assert {cell for line in lines for cell in line[2:]} <= {YES, NO, NOT_RUN}


def test_dashes_mark_impossible_promises(section: str) -> None:
    lines = rows(section)[2:]
    assert len(lines) == len(ROWS), "run `make table`"
    for backend, line in zip(ROWS, lines, strict=True):
        dashes = {promise for promise in PROMISES if line[1 + promise] == NO}
        assert dashes == CANNOT.get(backend, set()), f"{backend}: run `make table`"


def test_ticks_match_collected_tests(section: str, request: pytest.FixtureRequest) -> None:
    """Compare with the collected tests; SQL Server is exempt, since it may be absent."""
    collected = request.config.stash[COLLECTED]
    if not marked_files() <= {file for file, _ in collected}:
        skip_or_fail("the whole suite", "Only a part of the suite was collected.")
    lines = dict(zip(ROWS, rows(section)[2:], strict=True))
    ticked = {
        (backend, promise) for backend in ROWS for promise in PROMISES if lines[backend][1 + promise] == YES
    }
    tested = {cell for _, cell in collected if cell[1] not in CANNOT.get(cell[0], ())}
    assert ticked == {cell for cell in tested if cell[0] != "database-mssql"}, "run `make table`"


def marked_files() -> set[Path]:
    """Return the test files with `promise` marks in their text."""
    files = Path(__file__).parents[1].rglob("test_*.py")
    return {path for path in files if path != Path(__file__) and "mark.promise(" in path.read_text()}


# -- generation ---------------------------------------------------------------------------------------------


def make_results(*outcomes: str) -> PromiseResults:
    """Return results of one test per outcome, of promise 1 on `file`."""
    results = PromiseResults()
    for outcome in outcomes:
        results.add([("promise", ["file", 1]), ("other", "property")], outcome)
    return results


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
def test_tick_requires_only_passed_tests(outcomes: list[str], mark: str) -> None:
    assert make_results(*outcomes).mark("file", 1) == mark
    assert make_results(*outcomes).mark("file", 2) == NOT_RUN
    assert make_results(*outcomes).mark("redis", 1) == NOT_RUN


def test_impossible_promise_is_never_ticked() -> None:
    results = PromiseResults()
    results.add([("promise", ["cookie", 1])], "passed")
    assert results.mark("cookie", 1) == NO


SUITE = """
import pytest

@pytest.mark.promise(1, 2)
@pytest.mark.parametrize("backend", ["file", "redis_server"])
def test_holds(backend, record_property):
    record_property("version", [backend.removesuffix("_server"), "7.0"])

@pytest.mark.promise(2, backend="redis")
def test_skipped():
    pytest.skip("not available")

def test_of_no_promise():
    assert False
"""
FAILING = """
@pytest.mark.promise(3, backend="file")
def test_fails():
    assert False
"""


def run(folder: Path, suite: str, *options: str) -> tuple[int, str]:
    """Run a suite with the plugin; return the exit code and the document."""
    (folder / "test_suite.py").write_text(suite)
    document = folder / "table.md"
    document.write_text(f"Before\n{BEGIN}\nnothing\n{END.format(digest=0)}\nAfter\n")
    plugins = ["-p", "xdist.plugin", "-p", "tests.support.promise_table"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, f"--rootdir={folder}"]
    # Without other installed plugins, which take a second or two to import.
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
def test_run_writes_its_results(tmp_path: Path, options: list[str]) -> None:
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
def test_incomplete_run_writes_nothing(tmp_path: Path, suite: str, options: list[str]) -> None:
    code, text = run(tmp_path, suite, *options)
    assert code != 0
    assert "nothing" in text
