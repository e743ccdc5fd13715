"""Fixtures for all tests."""

import asyncio
import gc
import signal
from collections import Counter
from collections.abc import Generator, Iterable
from functools import wraps
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cartapp.session.testing import ManualClock as ManualClock

if TYPE_CHECKING:
    from tests.support.commands import CartCommand

pytest_plugins = [
    "tests.support.garbage",
    "tests.support.order",
    "tests.support.promise_table",
    "tests.session.explorer.summary",
    "tests.support.quick",
    "tests.support.servers.firebird",
    "tests.support.servers.mariadb",
    "tests.support.servers.memcached",
    "tests.support.servers.mongodb",
    "tests.support.servers.postgresql",
    "tests.support.servers.redis",
    "tests.support.servers.valkey",
]


def pytest_configure() -> None:
    """Accept SIGINT, so that processes of tests do: a shell ignores it for commands in the background.

    Collect no garbage while the tests are collected, which takes a tenth of that time.
    """
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Reject duplicate test IDs: pytest-xdist would run only one of them."""
    counted = Counter(item.nodeid for item in items)
    if same := sorted(name for name, count in counted.items() if count > 1):
        raise pytest.UsageError(f"Duplicate test IDs: {', '.join(same)}.")


def pytest_collection_finish() -> None:
    """Exempt the test items from garbage collection: they stay until the end."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Time out asynchronous tests at half of pytest-timeout's limit, so that fixtures still clean up."""
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
"""For tests that depend on the order of timers and socket reads in an event loop."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory; the environment has no settings."""
    from tests.support.environment import (
        isolate,  # of the shop: `make compat-library` installs the library alone
    )

    isolate(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def cart(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "CartCommand":
    """Return a runner of the `cart` command."""
    from tests.support.commands import CartCommand  # of the shop

    return CartCommand(monkeypatch, capsys)
