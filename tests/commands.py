"""Running `cart`, in this process for speed or as one of its own, on a terminal or not; and what it finds."""

import asyncio
import json
import os
import pty
import signal
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
from cartapp.session.stores.file import FileStore

from .surroundings import is_setting

CLI = Path(__file__).parent.parent / "cli.py"
HOUR = 3_600_000  # milliseconds
PATIENCE = 30  # seconds after which a process counts as hanging


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cart:
    """Runs the command in this process, through its own `main`."""

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


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these settings and no others."""
    clean = {name: value for name, value in os.environ.items() if not is_setting(name)}
    return {**clean, "PYTHONDONTWRITEBYTECODE": "1", **variables}


@contextmanager
def process(*args: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`python cli.py …` in the working directory; ended at the end."""
    running = subprocess.Popen(
        [sys.executable, str(CLI), *args],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with _watched(running):
        yield running
    running.communicate()


def run(*args: str, **variables: str) -> Result:
    """`python cli.py …` to its end."""
    with process(*args, **variables) as running:
        out, err = running.communicate(timeout=PATIENCE)
    return Result(running.returncode, out, err)


def on_terminal(*args: str, answer: str = "", interrupt_at: str = "", **variables: str) -> tuple[int, str]:
    """`python cli.py …` on a terminal; its status and all that it showed.

    `answer` is typed at once; the interrupt comes when `interrupt_at` is shown.
    """
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, str(CLI), *args],
        env=environment(TERM="xterm", **variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    with _watched(running):
        while chunk := _read(ours):
            shown += chunk
            if interrupt_at and interrupt_at in shown.decode(errors="replace"):
                running.send_signal(signal.SIGINT)
                os.write(ours, b"\n")  # Python misses a signal that comes just before it waits for a line
                interrupt_at = ""
        code = running.wait()
    os.close(ours)
    return code, shown.decode()


@contextmanager
def _watched(running: subprocess.Popen[Any]) -> Iterator[None]:
    """End the process at the end, and already when it hangs: then what waits for it goes on, and fails."""
    watchdog = Timer(PATIENCE, running.kill)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        running.kill()
        running.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # what Linux says when the other end is closed
        return b""


def key(name: str) -> str:
    """A handle that begins with `name`."""
    return name + "0" * (21 - len(name)) + "A"


def session(
    name: str, *, user: str | None = None, age: float = 1, idle: float = 0, data: bytes = b"{}"
) -> Record:
    """A session of so many hours that was not used for so many of them."""
    at = now()
    return Record(
        key(name), at - round(age * HOUR), at - round(idle * HOUR), at + 100 * HOUR, data, user_id=user
    )


def store(records: Iterable[Record]) -> None:
    async def create() -> None:
        files = FileStore("data/sessions")
        for record in records:
            assert await files.create(record) is not None
        await files.close()

    asyncio.run(create())
