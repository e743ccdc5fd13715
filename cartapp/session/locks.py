"""One commit at a time for each session in this process: those that wait cause no conflicts in the store."""

import asyncio

from .record import Record


class SessionLock(asyncio.Lock):
    """The lock of one session; `latest` is what the commit before wrote, for the next one to start from."""

    waiters = 0  # commits that hold the lock or wait for it
    latest: Record | None = None


class SessionLocks:
    """The locks of the sessions that are being committed, by key."""

    def __init__(self) -> None:
        self._locks: dict[str, SessionLock] = {}

    async def acquire(self, key: str) -> SessionLock:
        """Wait for a session's lock, which `release` gives back."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = SessionLock()
        lock.waiters += 1
        try:
            await lock.acquire()
        except BaseException:
            self._forget(key, lock)
            raise
        return lock

    def release(self, key: str, lock: SessionLock) -> None:
        """Let the next commit go on."""
        lock.release()
        self._forget(key, lock)

    def _forget(self, key: str, lock: SessionLock) -> None:
        lock.waiters -= 1
        if not lock.waiters:
            del self._locks[key]
