"""The file store reads many headers in several processes, with the same result as in one."""

import asyncio
import logging
import os
from contextlib import aclosing
from pathlib import Path

import pytest

from cartapp.session import Sessions, StoreUnavailable
from cartapp.session.admin import statistics, top_sessions
from cartapp.session.record import make_tombstone
from cartapp.session.stores.file import processes
from cartapp.session.stores.file.store import FileStore
from cartapp.session.stores.overview import Extent
from cartapp.session.stores.queries import ALL, Query
from tests.conftest import ManualClock
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> FileStore:
    store = FileStore(tmp_path / "sessions", clock=clock)
    users = ("ann", None, "Жозе", None, "u" * 200)
    for number in range(40):
        record = make_record(
            clock.now,
            created=clock.now - number,
            last_used=clock.now - number * 3,
            expires=clock.now + (HOUR if number % 4 else 1),
            user_id=users[number % len(users)],
            data=b"{%b}" % (b" " * number * 600),  # some are larger than the buffer
        )
        assert await store.create(record)
    await store.create(make_tombstone(make_record(clock.now), record, clock.now + HOUR))
    clock.advance(1)
    return store


async def test_same_result_as_in_one_process(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def results() -> tuple[object, ...]:
        sessions = Sessions(store)
        return (
            await statistics(sessions),
            await top_sessions(sessions, 7, "last_seen"),
            await top_sessions(sessions, 3, "size", "Жозе"),
            await top_sessions(sessions, 3, "user", query=Query(prefix="A")),
        )

    in_one = await results()
    monkeypatch.setattr(processes, "_FEW", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert await results() == in_one
    found = await statistics(Sessions(store))
    assert (found.sessions, found.users) == (30, 3)


async def test_unreadable_files_are_logged(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "_FEW", 0)
    file = next(path for path in (tmp_path / "sessions").glob("*/*") if len(path.name) == 32)
    file.write_bytes(b"garbage")
    with caplog.at_level(logging.WARNING, "cartapp.session"):
        assert (await statistics(Sessions(store))).sessions in (29, 30)
    assert "unreadable and not listed: it is not a whole record" in caplog.text


async def test_process_that_ends(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_FEW", 0)
    shard = next((tmp_path / "sessions").glob("[0-9a-f][0-9a-f]"))
    shard.chmod(0o777)  # refused, as other users can write to it
    with pytest.raises(StoreUnavailable, match="cannot be listed"):
        await statistics(Sessions(store))
    assert "can be written by other users" in capfd.readouterr().err


async def test_processes_end_with_the_caller(store: FileStore, clock: ManualClock) -> None:
    before = asyncio.all_tasks()
    request = processes.Request(str(store._base), ["00"], ALL, Extent(), clock.now)
    async with aclosing(processes.read_overviews(request, 2)) as parts:
        await anext(parts)
    assert asyncio.all_tasks() == before


def test_few_files_are_read_by_this_process() -> None:
    assert processes.reader_processes(19_999) == 1
