"""Programs and packages that some tests need in addition to those installed by `make setup`."""

import os
from importlib.util import find_spec
from shutil import which
from typing import NoReturn

import pytest

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # folders of servers, often missing from PATH


def require_program(name: str, hint: str) -> str:
    """Return the path of a program, or skip the test with an installation `hint`."""
    found = which(name) or which(name, path=_SYSTEM)
    if found is None:
        skip_or_fail(name, f"{name} is not installed: {hint}")
    return found


def require_package(name: str, hint: str) -> None:
    """Skip the test unless a Python package is installed."""
    if find_spec(name) is None:
        skip_or_fail(name, f"{name} is not installed: {hint}")


def skip_or_fail(name: str, sentence: str) -> NoReturn:
    """Skip the test, or fail if CART_TEST_REQUIRE is `all` or a comma-separated list with this name."""
    required = os.environ.get("CART_TEST_REQUIRE", "")
    if required == "all" or name in required.split(","):
        pytest.fail(f"{sentence} (CART_TEST_REQUIRE={required})")
    pytest.skip(sentence)
