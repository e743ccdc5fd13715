"""Processes that write to a store and are killed at random moments."""

import random
from multiprocessing.connection import Connection
from typing import Any

from cartapp.session.record import now
from cartapp.session.stores.base import Store
from tests.support.store_workers import write_forever
from tests.support.stores import make_record
from tests.support.workers import answer, numbered, piped


class Writer:
    """A process that writes to records until it is killed."""

    def __init__(self, url: str, keys: list[str]) -> None:
        self._process, self._connection = piped(write_forever, url, keys)

    def kill(self) -> list[tuple[str, int]]:
        """Kill the process at a random moment; return the keys and versions confirmed to it."""
        first = answer(self._connection)
        self._process.join(random.uniform(0, 0.02))
        self._process.kill()
        return [first, *receive_all(self._connection)]


async def kill_writers_at_random(store: Store, url: str, kills: int, *, writers: int) -> dict[str, int]:
    """Kill writers of five records: no record is corrupted, no confirmed write is lost.

    Return the last confirmed version of each record.
    """
    answered = {make_record(0).key: 1 for _ in range(5)}
    for key in answered:
        await store.create(make_record(now(), key=key, data=numbered(0)))
    working = [Writer(url, list(answered)) for _ in range(writers)]
    for _ in range(kills):
        working.append(Writer(url, list(answered)))
        for key, version in working.pop(0).kill():
            answered[key] = max(answered[key], version)
        for key, version in answered.items():
            record = await store.load(key)
            assert record is not None
            assert int(record.version) >= version
            assert record.data == numbered(int(record.version) - 1)
    for writer in working:
        writer.kill()
    return answered


def receive_all(connection: Connection) -> list[Any]:
    """Receive messages until the other process is gone."""
    messages: list[Any] = []
    try:
        while True:
            messages.append(answer(connection))
    except (EOFError, OSError):  # OSError: killed in the middle of a message
        return messages
