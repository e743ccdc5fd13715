"""Programs and packages that some tests need beside what `make setup` installs."""

import os
from importlib.util import find_spec
from shutil import which
from typing import NoReturn

import pytest


def require(name: str, hint: str) -> None:
    """Skip the test when there is neither a program nor a package `name`; `hint` says how to get it."""
    if which(name) is None and find_spec(name) is None:
        unmet(name, f"{name} is not installed: {hint}")


def unmet(name: str, sentence: str) -> NoReturn:
    """Skip the test, or fail when CART_TEST_REQUIRE is `all` or has the name in its comma-separated list."""
    required = os.environ.get("CART_TEST_REQUIRE", "")
    if required == "all" or name in required.split(","):
        pytest.fail(f"{sentence} (CART_TEST_REQUIRE={required})")
    pytest.skip(sentence)
