"""Processes that write to a store, killed at random moments of their work."""

import random
from multiprocessing.connection import Connection
from typing import Any

from cartapp.session.record import now
from cartapp.session.stores.base import Store

from .store_workers import write_forever
from .stores import make_record
from .workers import answer, numbered, piped


class Writer:
    """A process that writes to the records until it is killed."""

    def __init__(self, url: str, keys: list[str]) -> None:
        self._process, self._connection = piped(write_forever, url, keys)

    def killed(self) -> list[tuple[str, int]]:
        """Kill it at a random moment of its work; the keys and versions that it was told."""
        first = answer(self._connection)
        self._process.join(random.uniform(0, 0.02))
        self._process.kill()
        return [first, *received(self._connection)]


async def killed_at_random(store: Store, url: str, kills: int, *, writers: int) -> dict[str, int]:
    """Kill so many writers amid their work on five records: none breaks, and no answered write is lost.

    Returns the last version of each record that some writer was told.
    """
    answered = {make_record(0).key: 1 for _ in range(5)}
    for key in answered:
        await store.create(make_record(now(), key=key, data=numbered(0)))
    working = [Writer(url, list(answered)) for _ in range(writers)]
    for _ in range(kills):
        working.append(Writer(url, list(answered)))
        for key, version in working.pop(0).killed():
            answered[key] = max(answered[key], version)
        for key, version in answered.items():
            record = await store.load(key)
            assert record is not None
            assert int(record.version) >= version
            assert record.data == numbered(int(record.version) - 1)
    for writer in working:
        writer.killed()
    return answered


def received(connection: Connection) -> list[Any]:
    """Everything that comes until the other side is gone."""
    answers: list[Any] = []
    try:
        while True:
            answers.append(answer(connection))
    except (EOFError, OSError):  # OSError: it was killed in the middle of an answer
        return answers
