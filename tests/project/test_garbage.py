"""What a failed test leaves to the garbage collector."""

import subprocess
import sys
from pathlib import Path

from tests.support.shop_server import ROOT

SUITE = """
import gc

def test_fails_with_an_open_file(tmp_path):
    file = (tmp_path / "file").open("w")
    assert not file

def test_is_no_victim():
    gc.collect()
"""


def test_an_open_file_of_a_failed_test_fails_no_other(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "tests.support.garbage"]
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout
