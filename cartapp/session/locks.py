"""One commit at a time per session in this process, which avoids conflicts in the store."""

import asyncio

from .record import Record


class SessionLock(asyncio.Lock):
    """The lock of one session. `latest` is the record of the previous commit: the next one starts from it."""

    waiters = 0
    """Number of commits that hold the lock or wait for it."""
    latest: Record | None = None


class SessionLocks:
    """Locks of the sessions with a commit in progress, by event loop and key."""

    def __init__(self) -> None:
        self._locks: dict[tuple[asyncio.AbstractEventLoop, str], SessionLock] = {}

    async def acquire(self, key: str) -> SessionLock:
        """Acquire the lock of a session, for `release`."""
        place = asyncio.get_running_loop(), key
        lock = self._locks.get(place)
        if lock is None:
            lock = self._locks[place] = SessionLock()
        lock.waiters += 1
        try:
            await lock.acquire()
        except BaseException:
            self._forget(key, lock)
            raise
        return lock

    def release(self, key: str, lock: SessionLock) -> None:
        """Release the lock for the next commit."""
        lock.release()
        self._forget(key, lock)

    def _forget(self, key: str, lock: SessionLock) -> None:
        lock.waiters -= 1
        if not lock.waiters:
            del self._locks[asyncio.get_running_loop(), key]
