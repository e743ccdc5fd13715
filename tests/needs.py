"""Programs and packages that some tests need beside what `make setup` installs."""

import os
from importlib.util import find_spec
from shutil import which
from typing import NoReturn

import pytest

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # where servers lie, but which is not in everybody's PATH


def program(name: str, hint: str) -> str:
    """The path of a program; without it the test is skipped, and `hint` says how to get it."""
    found = which(name) or which(name, path=_SYSTEM)
    if found is None:
        unmet(name, f"{name} is not installed: {hint}")
    return found


def require_package(name: str, hint: str) -> None:
    """The same for a Python package."""
    if find_spec(name) is None:
        unmet(name, f"{name} is not installed: {hint}")


def unmet(name: str, sentence: str) -> NoReturn:
    """Skip the test, or fail when CART_TEST_REQUIRE is `all` or has the name in its comma-separated list."""
    required = os.environ.get("CART_TEST_REQUIRE", "")
    if required == "all" or name in required.split(","):
        pytest.fail(f"{sentence} (CART_TEST_REQUIRE={required})")
    pytest.skip(sentence)
