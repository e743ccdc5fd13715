"""Turns at hashing passwords: few at a time, bounded, and shared fairly between networks and accounts.

A hash takes a core for some 30 ms and 19 MiB. In a process, one hash runs at a time for each network and for
each account: one with many attempts delays the others by one hash, not by all of its own. Attempts beyond a
bound are refused at once. A part of the room is kept for networks that are known to the account, so that
attempts of many networks at many accounts do not keep returning users out.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from .errors import TooBusy
from .passwords import THREADS

MOST: Final = 40
"""Attempts that may wait or be at work in a process; with two threads the last one waits for 20 hashes."""

MOST_OF_UNKNOWN: Final = MOST // 2
"""The same for attempts from a network that is not known to the account."""

MOST_OF_ONE: Final = 12
"""The same for one network, or one account: more than `CART_LOGIN_LIMIT` lets through at once by default."""


@dataclass(slots=True)
class _Line:
    """The attempts of one network or account."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._threads = asyncio.Semaphore(THREADS)
        self._lines: dict[str, _Line] = {}
        self._length = 0

    @asynccontextmanager
    async def take(self, account: str, network: str, *, is_known: bool) -> AsyncIterator[None]:
        """Wait for the turn of an attempt, which lasts as long as the block. Raises `TooBusy` at once."""
        subjects = (f"network {network}", f"account {account}")
        most = MOST if is_known else MOST_OF_UNKNOWN
        if self._length >= most or any(self._length_of(subject) >= MOST_OF_ONE for subject in subjects):
            raise TooBusy
        self._length += 1
        of_network, of_account = (self._join(subject) for subject in subjects)
        try:
            # All take their locks in this order, so that no two wait for each other. An account's comes after
            # the network's: attempts of one busy network do not hold up the owner's from another.
            async with of_network.lock, of_account.lock, self._threads:
                yield
        finally:
            self._length -= 1
            for subject in subjects:
                self._leave(subject)

    def _length_of(self, subject: str) -> int:
        line = self._lines.get(subject)
        return line.length if line else 0

    def _join(self, subject: str) -> _Line:
        line = self._lines.setdefault(subject, _Line())
        line.length += 1
        return line

    def _leave(self, subject: str) -> None:
        line = self._lines[subject]
        line.length -= 1
        if not line.length:
            del self._lines[subject]
