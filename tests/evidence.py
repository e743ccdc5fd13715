"""A pytest plugin: which promises of the session layer hold on which backend, by the tests that ran.

`@pytest.mark.promise(1, 2)` says which promises a test holds; the backend is found among its parameters, or
given as `backend="file"`. `--write-table=FILE` runs the marked tests of the whole suite and then writes the
table between the two markers in the file, but only when nothing failed. A tick stands where at least one
test ran and all of them passed: what was skipped was not seen.
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

from .fault_matrix.names import FAULTS

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
"""The name of each backend in the tests, and in the table."""

CANNOT: Mapping[str, set[int]] = {
    "memory": {6, 9},
    "cookie": {1, 2, 3, 4, 6, 7, 9, 12},
    "memcached": {12},
}
"""What a backend cannot have, or has no meaning there; docs/backends.md says why."""

YES, NO, NOT_RUN = "✓", "–", "not run"

BEGIN = "<!-- Written by `make table`; not by hand. -->"
END = "<!-- The end of what `make table` wrote: {digest} -->"
BEGIN_FAULTS = "<!-- Faults, written by `make table`; not by hand. -->"


def section_after(begin: str) -> re.Pattern[str]:
    """What finds a section by its first marker: the text, and its digest."""
    return re.compile(rf"{re.escape(begin)}\n(.*?)\n<!-- The end of what `make table` wrote: (\w+) -->", re.S)


SECTION, FAULTS_SECTION = section_after(BEGIN), section_after(BEGIN_FAULTS)

# Other words for a backend that tests have as their parameters.
_ALIASES = {
    **{name.removeprefix("database-"): name for name in ROWS},
    **{f"{name.removeprefix('database-')}_server": name for name in ROWS},
    "redis_sentinels": "redis-sentinel",
    "redis_cluster": "redis-cluster",
    **{name: name for name in ROWS},
}

Cell = tuple[str, int]  # a backend and a promise


@dataclass
class Evidence:
    """What the tests have shown so far."""

    outcomes: dict[Cell, Counter[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    faults: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    tests: int = 0

    def add(self, properties: Iterable[tuple[str, object]], outcome: str) -> None:
        """One test's outcome: `passed`, `failed` or `skipped`, with its properties."""
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
        """What stands in a cell."""
        if promise in CANNOT.get(backend, ()):
            return NO
        counted = self.outcomes.get((backend, promise), Counter())
        return YES if counted and set(counted) == {"passed"} else NOT_RUN

    def table(self, today: str) -> str:
        """The whole section, without its markers."""
        head = ["backend", "version", *(str(promise) for promise in PROMISES)]
        lines = [head, ["---"] * len(head)]
        for backend, label in ROWS.items():
            marks = [self.mark(backend, promise) for promise in PROMISES]
            lines.append([label, self.versions.get(backend, ""), *marks])
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{rows}\n\nOn {today}: {self.tests} tests of these promises passed and none failed."

    def fault_table(self, names: Mapping[str, str], today: str) -> str:
        """The section of faults; `names` has what the table calls each."""
        places = [place for place in ROWS if any(tried == place for tried, _ in self.faults)]
        head = ["", *(ROWS[place] for place in places)]
        lines = [head, ["---", *("--:" for _ in places)]]
        for fault, name in names.items():
            cells = [_figures(self.faults.get((place, fault))) for place in places]
            lines.append([name, *cells])
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nOn {today}."


def _figures(found: Mapping[str, Any] | None) -> str:
    """One cell of the table of faults."""
    if found is None:
        return NO
    not_ready = NO if found["not_ready"] is None else f"{found['not_ready']:.1f}"
    lost = f"; {found['lost']} lost" if found["lost"] else ""
    return f"{found['refused']} of {found['requests']}; {found['seconds']:.1f} s; {not_ready}{lost}"


def digest(section: str) -> str:
    """What the closing marker has, so that a change by hand is noticed."""
    return sha256(section.encode()).hexdigest()[:16]


def write(path: Path, section: str, begin: str = BEGIN) -> None:
    """Put the section between the markers. Raises ValueError when the file has none."""
    text, pattern = path.read_text(), section_after(begin)
    if not pattern.search(text):
        raise ValueError(f"{path} has no place for the table.")
    whole = f"{begin}\n{section}\n{END.format(digest=digest(section))}"
    path.write_text(pattern.sub(lambda _: whole, text))


def cells_of(item: pytest.Item) -> Iterator[Cell]:
    """The backend and the promise of each mark on a test."""
    for mark in item.iter_markers("promise"):
        if not mark.args:
            continue
        backend = backend_of(item) or str(mark.kwargs.get("backend"))
        if backend not in ROWS:
            raise pytest.UsageError(f"{item.nodeid} is marked with a promise, but of which backend?")
        for promise in mark.args:
            if promise not in PROMISES:
                raise pytest.UsageError(f"{item.nodeid} is marked with {promise}, which is no promise.")
            yield backend, promise


def backend_of(item: pytest.Item) -> str | None:
    """The row of the backend among a test's parameters; None if there is none."""
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    return next((_ALIASES[value] for value in values if isinstance(value, str) and value in _ALIASES), None)


# -- the plugin ---------------------------------------------------------------------------------------------

COLLECTED = pytest.StashKey[set[tuple[Path, Cell]]]()
"""Every cell for which this process knows a test, whether it is going to run or not, and the test's file."""
_EVIDENCE = pytest.StashKey[Evidence]()


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
        "markers", "promise(*numbers, backend=…): a promise of the layer that the test holds"
    )
    config.stash[COLLECTED] = set()
    config.stash[_EVIDENCE] = Evidence()
    option = config.option
    if not option.write_table or hasattr(config, "workerinput"):
        return
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    if option.keyword or option.markexpr or option.deselect or not whole:
        raise pytest.UsageError("--write-table wants the whole suite: a part of it shows only a part.")


def pytest_itemcollected(item: pytest.Item) -> None:
    cells = list(cells_of(item))
    item.user_properties += [("promise", list(cell)) for cell in cells]
    item.config.stash[COLLECTED].update((item.path, cell) for cell in cells)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    option = config.option
    if not option.write_table and not option.write_faults:
        return
    is_fault = [item.path.name == "test_fault_matrix.py" for item in items]
    chosen = [
        item
        for item, fault in zip(items, is_fault, strict=True)
        if item.get_closest_marker("promise") and fault == bool(option.write_faults)
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


class _Reports:
    """Listens where the reports of all processes arrive."""

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
        print("\nThe table was not written, since not every test passed.")
        return
    today = datetime.now(UTC).date().isoformat()
    if option.write_table:
        write(Path(option.write_table), evidence.table(today))
    if option.write_faults:
        write(Path(option.write_faults), evidence.fault_table(FAULTS, today), BEGIN_FAULTS)
