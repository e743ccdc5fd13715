"""Run `cart` in this process or in its own, and prepare sessions for it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from cartapp.commands import main
from cartapp.session.record import Record, now
from cartapp.session.stores.file.store import FileStore
from tests.support.environment import clean_environment

CLI = Path(__file__).parents[2] / "cli.py"
HOUR = 3_600_000  # milliseconds
PROCESS_TIMEOUT = 120  # seconds until a process is taken to hang; a busy machine takes 30 for some commands


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CartCommand:
    """Run the command in this process, through its own `main`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *args: str) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["cart", *args])
        code: str | int | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        printed = self._capsys.readouterr()
        assert isinstance(code, int)
        return Result(code, printed.out, printed.err)


@contextmanager
def start_cart(*args: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start `python cli.py …` in the working directory; kill it on exit from the block."""
    running = subprocess.Popen(
        [sys.executable, str(CLI), *args],
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running, kill_on_exit(running):  # the former closes its output, also after a failure
        yield running


def run_cart(*args: str, **variables: str) -> Result:
    """Run `python cli.py …` to completion."""
    with start_cart(*args, **variables) as running:
        out, err = running.communicate(timeout=PROCESS_TIMEOUT)
    return Result(running.returncode, out, err)


@contextmanager
def kill_on_exit(running: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill the process on exit, or after a timeout, so that a hanging process fails its test."""
    watchdog = Timer(PROCESS_TIMEOUT, running.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        running.kill()
        running.wait()


def make_handle(name: str) -> str:
    """Return a valid handle that begins with `name`."""
    return name + "0" * (21 - len(name)) + "A"


def make_session(
    name: str, *, user: str | None = None, age: float = 1, idle: float = 0, data: bytes = b"{}"
) -> Record:
    """Return a session record; `age` and `idle` are hours since its creation and its last use."""
    at = now()
    return Record(
        make_handle(name),
        at - round(age * HOUR),
        at - round(idle * HOUR),
        at + 100 * HOUR,
        data,
        user_id=user,
    )


def store_sessions(records: Iterable[Record]) -> None:
    async def create() -> None:
        files = FileStore("data/sessions")
        for record in records:
            assert await files.create(record) is not None
        await files.close()

    asyncio.run(create())
