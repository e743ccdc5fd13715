"""Fixtures that every test may use."""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterable
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path

import pytest

from tests.commands import Cart
from tests.surroundings import enter

pytest_plugins = [
    "tests.evidence",
    "tests.explorer.summary",
    "tests.quick",
    "tests.servers.firebird",
    "tests.servers.mariadb",
    "tests.servers.memcached",
    "tests.servers.mongodb",
    "tests.servers.postgresql",
    "tests.servers.redis",
    "tests.servers.valkey",
]


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Refuse two tests of one name: pytest-xdist takes them for one, and would run only that."""
    counted = Counter(item.nodeid for item in items)
    if same := sorted(name for name, count in counted.items() if count > 1):
        raise pytest.UsageError(f"Several tests have the name {', '.join(same)}.")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """End an asynchronous test after half of what pytest-timeout allows: its fixtures can still clean up."""
    test = pyfuncitem.obj
    limit = float(pyfuncitem.config.getini("timeout")) / 2

    @wraps(test)
    async def limited(**fixtures: object) -> None:
        async with asyncio.timeout(limit):
            await test(**fixtures)

    if limit and iscoroutinefunction(test):
        pyfuncitem.obj = limited
    return (yield)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


ON_BOTH_LOOPS = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)
"""For what depends on the order in which an event loop runs timers and reads sockets."""


class ManualClock:
    """A clock that stands still until a test moves it. Calling it gives milliseconds since 1970."""

    def __init__(self, now: int = 1_800_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: empty, and without any setting in the environment."""
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def cart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cart:
    """The command."""
    return Cart(monkeypatch, capsys)
