"""End a command at SIGTERM and SIGHUP as at Ctrl-C: with summary, audit line and a restored terminal."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
FIRST_STATUS = 128
"""Exit status of a process that a signal ended, minus the number of the signal."""


@contextmanager
def signals_as_interrupts() -> Iterator[None]:
    """Interrupt the block at the first of these signals, and exit with its status.

    A signal that is ignored stays ignored, such as SIGHUP after `nohup`.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        handler = signal.getsignal(signal.SIGINT)  # that of a running event loop cancels its task
        if not callable(handler):  # a shell ignores SIGINT for commands in the background
            raise KeyboardInterrupt
        handler(signal.SIGINT, frame)

    caught = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)
        if received:
            raise typer.Exit(FIRST_STATUS + received[0])
