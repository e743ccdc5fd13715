"""A pytest plugin: a table of the session promises verified on each backend by the tests that ran.

`@pytest.mark.promise(1, 2)` names the promises that a test verifies. The backend is one of its parameters, or
given as `backend="file"`. `--write-table=FILE` runs the marked tests of the whole suite and writes the table
between two markers in the file, but only if no test failed. A cell is ticked if at least one test ran and all
passed; skipped tests do not count.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.selection import deselect_others
from tests.system.fault_matrix.names import FAULTS

PROMISES = range(1, 13)

ROWS: Mapping[str, str] = {
    "file": "`file`",
    "memory": "`memory`",
    "cookie": "`cookie`",
    "redis": "`redis`",
    "redis-sentinel": "`redis`, Sentinel",
    "redis-cluster": "`redis`, Cluster",
    "valkey": "`valkey`",
    "memcached": "`memcached`",
    "mongodb": "`mongodb`",
    "database-sqlite": "`database`, SQLite",
    "database-postgresql": "`database`, PostgreSQL",
    "database-mariadb": "`database`, MariaDB",
    "database-mssql": "`database`, SQL Server",
    "database-firebird": "`database`, Firebird",
}
"""Name of each backend in the tests, and its label in the table."""

CANNOT: Mapping[str, set[int]] = {
    "memory": {6, 9},
    "cookie": {1, 2, 3, 4, 6, 7, 9, 12},
    "memcached": {12},
}
"""Promises that a backend cannot keep or that have no meaning there; docs/backends.md gives the reasons."""

YES, NO, NOT_RUN = "✓", "–", "not run"

BEGIN = "<!-- Written by `make table`; not by hand. -->"
END = "<!-- The end of what `make table` wrote: {digest} -->"
BEGIN_FAULTS = "<!-- Faults, written by `make table`; not by hand. -->"


def section_after(begin: str) -> re.Pattern[str]:
    """Return a pattern that matches the section after a marker; its groups are the text and its digest."""
    return re.compile(rf"{re.escape(begin)}\n(.*?)\n<!-- The end of what `make table` wrote: (\w+) -->", re.S)


SECTION, FAULTS_SECTION = section_after(BEGIN), section_after(BEGIN_FAULTS)

# Test parameters that name a backend, and the backend.
_ALIASES = {
    **{name.removeprefix("database-"): name for name in ROWS},
    **{f"{name.removeprefix('database-')}_server": name for name in ROWS},
    "redis_sentinels": "redis-sentinel",
    "redis_cluster": "redis-cluster",
    **{name: name for name in ROWS},
}

Cell = tuple[str, int]  # a backend and a promise


@dataclass
class PromiseResults:
    """Test outcomes by backend and promise."""

    outcomes: dict[Cell, Counter[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    faults: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    tests: int = 0

    def add(self, properties: Iterable[tuple[str, object]], outcome: str) -> None:
        """Add one test's outcome (`passed`, `failed` or `skipped`) for its properties."""
        cells = []
        for name, value in properties:
            if name == "promise" and isinstance(value, list | tuple):
                cells.append((str(value[0]), int(value[1])))
            if name == "version" and isinstance(value, list | tuple) and outcome == "passed":
                self.versions[str(value[0])] = str(value[1])
            if name == "fault" and isinstance(value, list | tuple) and outcome == "passed":
                self.faults[str(value[0]), str(value[1])] = dict(value[2])
        for cell in cells:
            self.outcomes.setdefault(cell, Counter())[outcome] += 1
        self.tests += bool(cells) and outcome == "passed"

    def mark(self, backend: str, promise: int) -> str:
        """Return the text of a cell."""
        if promise in CANNOT.get(backend, ()):
            return NO
        counted = self.outcomes.get((backend, promise), Counter())
        return YES if counted and set(counted) == {"passed"} else NOT_RUN

    def table(self, today: str) -> str:
        """Return the whole section without its markers."""
        head = ["backend", "version", *(str(promise) for promise in PROMISES)]
        lines = [head, ["---"] * len(head)]
        for backend, label in ROWS.items():
            marks = [self.mark(backend, promise) for promise in PROMISES]
            lines.append([label, self.versions.get(backend, ""), *marks])
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\nOn {today}: {self.tests} tests of these promises passed and none failed."

    def fault_table(self, names: Mapping[str, str], today: str) -> str:
        """Return the section of faults; `names` maps each fault to its label."""
        places = [place for place in ROWS if any(tried == place for tried, _ in self.faults)]
        head = ["", *(ROWS[place] for place in places)]
        lines = [head, ["---", *("--:" for _ in places)]]
        for fault, name in names.items():
            cells = [_fault_cell(self.faults.get((place, fault))) for place in places]
            lines.append([name, *cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nOn {today}."


def _fault_cell(found: Mapping[str, Any] | None) -> str:
    """Format one cell of the fault table."""
    if found is None:
        return NO
    not_ready = NO if found["not_ready"] is None else f"{found['not_ready']:.1f}"
    lost = f"; {found['lost']} lost" if found["lost"] else ""
    return f"{found['refused']} of {found['requests']}; {found['seconds']:.1f} s; {not_ready}{lost}"


def digest(section: str) -> str:
    """Return the digest in the closing marker, which reveals manual changes."""
    return sha256(section.encode()).hexdigest()[:16]


def write(path: Path, section: str, begin: str = BEGIN) -> None:
    """Write the section between the markers. Raise ValueError if the file has no markers."""
    text, pattern = path.read_text(), section_after(begin)
    if not pattern.search(text):
        raise ValueError(f"{path} has no markers for the table.")
    whole = f"{begin}\n{section}\n{END.format(digest=digest(section))}"
    path.write_text(pattern.sub(lambda _: whole, text))


def get_cells(item: pytest.Item) -> Iterator[Cell]:
    """Yield backend and promise of each `promise` mark on a test."""
    for mark in item.iter_markers("promise"):
        if not mark.args:
            continue
        backend = get_backend(item) or str(mark.kwargs.get("backend"))
        if backend not in ROWS:
            raise pytest.UsageError(
                f"{item.nodeid}: the promise mark needs a parameter or `backend=` with a name of `ROWS` in "
                "tests/support/promise_table.py."
            )
        for promise in mark.args:
            if promise not in PROMISES:
                raise pytest.UsageError(f"{item.nodeid}: there is no promise {promise}.")
            yield backend, promise


def get_backend(item: pytest.Item) -> str | None:
    """Return the backend among a test's parameters, or None."""
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    return next((_ALIASES[value] for value in values if isinstance(value, str) and value in _ALIASES), None)


# -- the plugin ---------------------------------------------------------------------------------------------

COLLECTED = pytest.StashKey[set[tuple[Path, Cell]]]()
"""Every collected cell with the file of its test, including deselected tests."""
_EVIDENCE = pytest.StashKey[PromiseResults]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-table",
        metavar="FILE",
        help="run all tests of promises and write the table of backends into this file",
    )
    parser.addoption(
        "--write-faults", metavar="FILE", help="run the fault matrix and write its table into this file"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "promise(*numbers, backend=…): session promises that the test verifies"
    )
    config.stash[COLLECTED] = set()
    config.stash[_EVIDENCE] = PromiseResults()
    option = config.option
    if not option.write_table or hasattr(config, "workerinput"):
        return
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    if option.keyword or option.markexpr or option.deselect or not whole:
        raise pytest.UsageError("--write-table requires the whole suite, without selections.")


def pytest_itemcollected(item: pytest.Item) -> None:
    promises = getattr(getattr(item, "function", None), "promises", ())  # of `testing.store_contract`
    if promises and get_backend(item) is not None:
        item.add_marker(pytest.mark.promise(*promises))
    cells = list(get_cells(item))
    item.user_properties += [("promise", list(cell)) for cell in cells]
    item.config.stash[COLLECTED].update((item.path, cell) for cell in cells)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    option = config.option
    if not option.write_table and not option.write_faults:
        return

    def is_chosen(item: pytest.Item) -> bool:
        is_fault = item.path.name == "test_fault_matrix.py"
        return bool(item.get_closest_marker("promise")) and is_fault == bool(option.write_faults)

    deselect_others(config, items, is_chosen)


class _Reports:
    """Collect the reports of all test processes."""

    def __init__(self, config: pytest.Config) -> None:
        self._evidence = config.stash[_EVIDENCE]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
            self._evidence.add(report.user_properties, outcome)


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Reports(session.config))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    option, evidence = config.option, config.stash[_EVIDENCE]
    if not (option.write_table or option.write_faults) or hasattr(config, "workerinput"):
        return
    if exitstatus != pytest.ExitCode.OK:
        print("\nThe table was not written: not every test passed.")
        return
    today = datetime.now(UTC).date().isoformat()
    if option.write_table:
        write(Path(option.write_table), evidence.table(today))
    if option.write_faults:
        write(Path(option.write_faults), evidence.fault_table(FAULTS, today), BEGIN_FAULTS)
