"""Disks that fill up, and files that another process keeps locked."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from .needs import unmet
from .servers.process import temporary_folder

FILLER = "filler"
"""The file that takes what is left of a disk."""

_SIZE = "8m"
_CHUNK = bytes(4096)


@contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of its own with a few MiB, in memory; the test ends when none can be mounted."""
    with temporary_folder() as folder:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "cart-test", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            unmet("mount", "A small disk cannot be mounted: the tests must run as root on Linux")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / FILLER).open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(_CHUNK)


@contextmanager
def held_shards(sessions: Path) -> Iterator[None]:
    """Keep every folder of a file store locked."""
    with ExitStack() as stack:
        for shard in sessions.iterdir():
            descriptor = os.open(shard, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            flock(descriptor, LOCK_EX)
        yield


@contextmanager
def held_database(file: Path) -> Iterator[None]:
    """Keep a SQLite database locked against writers."""
    # A thread of its own may end what another one began.
    database = sqlite3.connect(file, isolation_level=None, timeout=60, check_same_thread=False)
    with closing(database):
        database.execute("BEGIN IMMEDIATE")
        yield
