"""A pytest plugin: the distribution and order of the files in a run with several processes.

Without it, pytest-xdist starts files with many tests first. Those need the processor; the files with few
tests wait for servers and would run last, together, while both cores are idle. `--no-loadscope-reorder` keeps
this order.
"""

from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

TOGETHER = "tests/browser"
"""Package that runs in one process: its tests share a browser and a shop."""

LONGEST = (
    "browser",
    "test_outages.py",
    "test_fault_matrix.py",
    "test_sql_faults.py",
    "test_store_contract.py",
    "test_file_crash.py",
    "test_account_steps.py",
    "test_backends.py",
    "test_own_clients.py",
    "test_server_limits.py",
    "test_openapi.py",
    "test_idle_connections.py",
    "test_explorer.py",
    "test_wheel.py",
    "test_benchmark.py",
    "test_login_http.py",
    "test_schema_upgrade.py",
    "test_sql_modes.py",
    "test_sql_store.py",
    "test_mongodb_faults.py",
)
"""Files that take longest (`--durations=0`): started late, one of them would outlast all others."""


class Scheduler(LoadFileScheduling):  # type: ignore[misc]  # has no type hints
    """Distribute whole files, and one package as a whole."""

    def _split_scope(self, nodeid: str) -> str:
        return TOGETHER if nodeid.startswith(TOGETHER) else str(super()._split_scope(nodeid))


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler | None:
    """Replace the scheduler of `--dist loadfile`."""
    return Scheduler(config, log) if config.getoption("dist") == "loadfile" else None


def position(path: Path) -> tuple[int, str]:
    """Return the sort key of a file: the longest first, the others mixed."""
    name = "browser" if path.parent.name == "browser" else path.name
    rank = LONGEST.index(name) if name in LONGEST else len(LONGEST)
    return rank, sha256(path.name.encode()).hexdigest()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the files in each process of pytest-xdist alike; keep the order within a file."""
    if not hasattr(config, "workerinput"):
        return
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    items[:] = [item for group in sorted(files, key=lambda group: position(group[0].path)) for item in group]
