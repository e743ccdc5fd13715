"""Signals that end a command, and those that the caller ignores."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import CLI, kill_on_exit, make_session, store_sessions
from tests.support.environment import clean_environment
from tests.support.polling import DEADLINE, wait_for
from tests.support.stores import files_in

pytestmark = pytest.mark.usefixtures("folder")


@contextmanager
def purging(ignored: str) -> Iterator[subprocess.Popen[bytes]]:
    """Purge slowly in a process that ignores a signal, like one in the background or after `nohup`."""
    store_sessions(make_session(f"{number:05}") for number in range(200))
    purge = f'"{sys.executable}" "{CLI}" sessions purge --all --yes --limit-rate 100'
    running = subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' {ignored}; exec {purge}"],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
    )
    with kill_on_exit(running):
        wait_for(lambda: len(files_in(Path("data/sessions"))) < 180)
        yield running


def test_a_command_in_the_background_is_terminated() -> None:
    with purging(ignored="INT") as running:
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE) == 143
    assert json.loads(Path("data/audit.log").read_text())["completed"] is False


def test_a_command_after_nohup_continues() -> None:
    with purging(ignored="HUP") as running:
        running.send_signal(signal.SIGHUP)
        assert running.wait(DEADLINE) == 0
    assert json.loads(Path("data/audit.log").read_text())["ended"] == 200
