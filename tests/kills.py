"""Processes that write to a store, killed at random moments of their work."""

import random
from multiprocessing.connection import Connection
from typing import Any

from cartapp.session.record import now
from cartapp.session.stores.base import Store

from .store_workers import write_forever
from .stores import make_record
from .waiting import DEADLINE
from .workers import numbered, processes


class Writer:
    """A process that writes to the records until it is killed."""

    def __init__(self, url: str, keys: list[str]) -> None:
        self._connection, theirs = processes.Pipe()
        self._process = processes.Process(target=write_forever, args=(url, keys, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def killed(self) -> list[tuple[str, int]]:
        """Kill it at a random moment of its work; the keys and versions that it was told."""
        first = self._connection.recv()
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
        while connection.poll(DEADLINE):
            answers.append(connection.recv())
    except (EOFError, OSError):  # OSError: it was killed in the middle of an answer
        return answers
    raise AssertionError("The process neither ended nor answered.")
