"""A pytest plugin: what a failed test leaves to the garbage collector fails no other test.

Without it, a warning about a file or socket of the failed test is an error in whichever test runs when the
collector finds it.
"""

import gc
import sys
import warnings
from collections.abc import Generator

import pytest

_FAILED = pytest.StashKey[bool]()
_LAST = ("last_type", "last_value", "last_traceback", "last_exc")
"""Variables of `sys` that keep the frames of a failed test for a debugger."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Collect what a failed test has left, without warnings and reports of exceptions."""
    result = yield
    if item.stash.get(_FAILED, False):
        _collect_quietly()
    return result


def _collect_quietly() -> None:
    for name in _LAST:
        vars(sys).pop(name, None)
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings(action="ignore"):
            gc.collect()
    finally:
        sys.unraisablehook = hook
