"""Fair, bounded queues for password hashing.

A hash takes some 30 ms of a core and 19 MiB. Attempts from networks known to the account wait in one queue,
all others in another one. In each queue one hash runs at a time for each network and for each account, so
that a busy one delays the others by one hash only. Attempts above a limit are rejected at once.

The queues share no lock and no limit, only the number of concurrent hashes. Unknown networks leave one of
them free, and their threads have a lower priority: guesses from elsewhere, at one account or at many, neither
delay nor reject returning users.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final

from .errors import TooBusy
from .passwords import MAX_CONCURRENT_HASHES

MAX_ATTEMPTS: Final = 40
"""Concurrent attempts from known networks in a process, and as many from unknown ones."""

MAX_ATTEMPTS_PER_SUBJECT: Final = 16
"""Concurrent attempts of a network, and hashes of an account, in a queue; above `CART_LOGIN_LIMIT`."""

_Subject = tuple[bool, str, str]
"""A queue (`is_known`), a kind and a name."""


@dataclass(slots=True)
class _SubjectQueue:
    """Attempts of one network or account that wait for a hash or compute it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


class HashingQueue:
    """The hashing queues of one process."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_HASHES)
        self._unknown_slots = asyncio.Semaphore(MAX_CONCURRENT_HASHES - 1)
        self._queues: dict[_Subject, _SubjectQueue] = {}
        self._admitted: Counter[_Subject] = Counter()

    @contextmanager
    def admit(self, network: str, *, is_known: bool) -> Iterator[None]:
        """Admit an attempt for the duration of the block. Raises `TooBusy`."""
        everyone, subject = (is_known, "all", ""), (is_known, "network", network)
        if self._admitted[everyone] >= MAX_ATTEMPTS or self._admitted[subject] >= MAX_ATTEMPTS_PER_SUBJECT:
            raise TooBusy
        self._admitted.update((everyone, subject))
        try:
            yield
        finally:
            self._admitted -= Counter((everyone, subject))  # also drops zero counts

    @asynccontextmanager
    async def acquire(self, account: str, network: str, *, is_known: bool) -> AsyncIterator[None]:
        """Wait for a thread, held for the duration of the block. Raises `TooBusy` at once."""
        # Attempts above `CART_LOGIN_LIMIT` were rejected before and take no place of the account.
        subjects = ((is_known, "network", network), (is_known, "account", account))
        if subjects[1] in self._queues and self._queues[subjects[1]].length >= MAX_ATTEMPTS_PER_SUBJECT:
            raise TooBusy
        network_queue, account_queue = (self._join(subject) for subject in subjects)
        try:
            # The fixed order of the locks prevents deadlocks. The account's lock comes last, so that a busy
            # network does not delay the owner's attempt from another network.
            async with network_queue.lock, account_queue.lock, self._unknown_slot(is_known), self._slots:
                yield
        finally:
            for subject in subjects:
                self._leave(subject)

    def _unknown_slot(self, is_known: bool) -> AbstractAsyncContextManager[None]:
        """Return what an attempt from an unknown network needs besides a thread."""
        return nullcontext() if is_known else self._unknown_slots

    def _join(self, subject: _Subject) -> _SubjectQueue:
        queue = self._queues.setdefault(subject, _SubjectQueue())
        queue.length += 1
        return queue

    def _leave(self, subject: _Subject) -> None:
        queue = self._queues[subject]
        queue.length -= 1
        if not queue.length:
            del self._queues[subject]
