"""A lock between the processes of one host, released when its process exits."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


class HostLock:
    """A lock on a file. Creates the file, not its folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock without waiting; return whether this process has it.

        Returns False if the folder is missing. Raises OSError.
        """
        if self._descriptor is not None:
            return True
        with suppress(FileNotFoundError, BlockingIOError):
            self._descriptor = self._open_locked()
        return self._descriptor is not None

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open_locked(self) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
