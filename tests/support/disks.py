"""Disks that fill up, and files that another process keeps locked."""

import os
import pwd
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

from tests.support.requirements import skip_or_fail
from tests.support.servers.process import temporary_folder

FILLER = "filler"
"""The file that takes what is left of a disk."""

_CHUNK = bytes(4096)


@contextmanager
def small_disk(user: str | None = None, *, size: str = "8m") -> Iterator[Path]:
    """Mount a file system in memory that belongs to `user`. Skips the test if that is not possible."""
    with temporary_folder() as folder:
        options = f"size={size},mode=0700" + (f",uid={user},gid={pwd.getpwnam(user).pw_gid}" if user else "")
        command = ["mount", "-t", "tmpfs", "-o", options, "cart-test", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            skip_or_fail("mount", "A small disk cannot be mounted: the tests must run as root on Linux")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / FILLER).open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(_CHUNK)


def remount(disk: Path, mode: str) -> None:
    """Make a file system read-only (`ro`) or writable (`rw`). No file in it may be open for writing."""
    subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True, capture_output=True)


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
