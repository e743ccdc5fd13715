"""Operating systems that the library does not support."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cartapp.session", "cartapp.session.stores"])
def test_windows_is_rejected_with_one_sentence(module: str) -> None:
    code = f"import os; os.name = 'nt'; import {module}"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "ImportError: cartapp.session requires Linux or macOS."
