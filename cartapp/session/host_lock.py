"""A lock among the processes of one host, which ends with the process that has it."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class HostLock:
    """The lock on a file, which is made when it is missing; its folder is not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if no other process has it, and return whether this one has it now.

        There is none where the folder is missing. Raises `OSError`.
        """
        if self._descriptor is not None:
            return True
        with suppress(FileNotFoundError, BlockingIOError):
            self._descriptor = self._locked()
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
