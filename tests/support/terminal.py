"""Run `cart` on a terminal and wait for its output."""

import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.commands import CLI, kill_on_exit
from tests.support.environment import clean_environment


class Terminal:
    """A process on a terminal. Its output arrives in pieces of any size: a test can only wait for a text."""

    def __init__(self, terminal: int, process: "subprocess.Popen[bytes]") -> None:
        self._terminal, self.process = terminal, process
        self._output = b""
        self._start = 0

    def press(self, keys: str) -> None:
        """Type the keys; later calls of `wait_for` ignore the output read so far."""
        self._start = len(self._output)
        os.write(self._terminal, keys.encode())

    def wait_for(self, *texts: str) -> None:
        """Wait until the output since the last keys contains each text, in any order."""
        for text in texts:
            while text.encode() not in self._output[self._start :]:
                assert self._read(), f"The process ended without {text!r}:\n{self._output.decode()}"

    def finish(self) -> tuple[int, str]:
        """Wait until the process ends; return its exit status and its whole output."""
        while self._read():
            pass
        return self.process.wait(), self._output.decode()

    def has_echo(self) -> bool:
        """Return whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def _read(self) -> bytes:
        """Read the next piece of output; return it, empty at the end."""
        try:
            chunk = os.read(self._terminal, 4096)
        except OSError:  # Linux: the other end is closed
            return b""
        self._output += chunk
        return chunk


@contextmanager
def start_on_terminal(*args: str, **variables: str) -> Iterator[Terminal]:
    """Start `python cli.py …` on a terminal; kill it on exit from the block."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(CLI), *args],
        env=clean_environment(TERM="xterm", **variables),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        with kill_on_exit(process):
            yield Terminal(ours, process)
    finally:
        os.close(ours)


def run_on_terminal(*args: str, typed: str = "", **variables: str) -> tuple[int, str]:
    """Run `python cli.py …` on a terminal, enter `typed` at once; return its exit status and output."""
    with start_on_terminal(*args, **variables) as terminal:
        terminal.press(typed)
        return terminal.finish()
