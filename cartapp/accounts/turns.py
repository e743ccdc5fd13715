"""Turns at hashing passwords: few at a time, bounded, and shared fairly between networks and accounts.

A hash takes a core for some 30 ms and 19 MiB. In a process, one hash runs at a time for each network and for
each account: one with many attempts delays the others by one hash, not by all of its own. Attempts beyond a
bound are refused at once. Attempts from networks that are known to the account have a thread and room of
their own: those of many networks at many accounts, which nothing else tells apart, do not keep returning
users out.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from .errors import TooBusy
from .passwords import THREADS

ROOM: Final = 40
"""Attempts from known networks in a process, and as many from unknown ones; their database work included."""

ROOM_OF_ONE: Final = 16
"""Attempts of one network, and hashes of one account: more than the default of `CART_LOGIN_LIMIT`."""


@dataclass(slots=True)
class _Line:
    """The attempts of one network or account that wait for their hash, the one at work included."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class Turns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._threads = asyncio.Semaphore(THREADS)
        self._of_unknown = asyncio.Semaphore(THREADS - 1)
        self._lines: dict[str, _Line] = {}
        self._taken: Counter[str | bool] = Counter()

    @contextmanager
    def room(self, network: str, *, is_known: bool) -> Iterator[None]:
        """Take room for an attempt as long as the block runs. Raises `TooBusy`."""
        if self._taken[is_known] >= ROOM or self._taken[network] >= ROOM_OF_ONE:
            raise TooBusy
        kept = (is_known, network)
        self._taken.update(kept)
        try:
            yield
        finally:
            self._taken -= Counter(kept)  # which also drops what is 0

    @asynccontextmanager
    async def take(self, account: str, network: str, *, is_known: bool) -> AsyncIterator[None]:
        """Wait for the turn of an attempt, which lasts as long as the block. Raises `TooBusy` at once."""
        # Attempts beyond `CART_LOGIN_LIMIT` never come here, so that they take no room from the account.
        subjects = (f"network {network}", f"account {account}")
        if subjects[1] in self._lines and self._lines[subjects[1]].length >= ROOM_OF_ONE:
            raise TooBusy
        of_network, of_account = (self._join(subject) for subject in subjects)
        try:
            # All take their locks in this order, so that no two wait for each other. An account's comes after
            # the network's: attempts of one busy network do not hold up the owner's from another.
            async with of_network.lock, of_account.lock, self._unless(is_known), self._threads:
                yield
        finally:
            for subject in subjects:
                self._leave(subject)

    def _unless(self, is_known: bool) -> AbstractAsyncContextManager[None]:
        """What an attempt from an unknown network waits for besides a thread."""
        return nullcontext() if is_known else self._of_unknown

    def _join(self, subject: str) -> _Line:
        line = self._lines.setdefault(subject, _Line())
        line.length += 1
        return line

    def _leave(self, subject: str) -> None:
        line = self._lines[subject]
        line.length -= 1
        if not line.length:
            del self._lines[subject]
