"""List, count and purge a million sessions in bounded memory, without touching live ones."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scale import wait
from cartapp.session.record import Record, new_id, now
from cartapp.session.stores.registry import open_store
from tests.support.commands import CLI, HOUR
from tests.support.environment import clean_environment
from tests.support.store_workers import touch_forever
from tests.support.stores import with_prefix
from tests.support.workers import answer, piped

pytestmark = [pytest.mark.soak, pytest.mark.anyio]

MILLION = int(os.environ.get("CART_TEST_SESSIONS", "1000000"))
AT_ONCE = 500
SPARE = 64  # MiB above the command's need with one session; a million handles would exceed it


@pytest.fixture(params=["file", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return with_prefix(request.getfixturevalue("redis_server").url)
    return {"file": f"file://{tmp_path}/sessions", "sqlite": f"sqlite:///{tmp_path}/sessions.db"}[
        request.param
    ]


class Command:
    """Runs `cart` on this store, and measures its memory."""

    def __init__(self, url: str, folder: Path) -> None:
        self._environment = clean_environment(CART_SESSION_URL=url, CART_SESSION_TIMEOUT="60")
        self._folder = folder
        self.peak = 0.0  # MiB, of the last call

    def __call__(self, *args: str) -> str:
        out = self._folder / "out"
        with out.open("w") as printed:
            running = subprocess.Popen(
                [sys.executable, str(CLI), *args], cwd=self._folder, env=self._environment, stdout=printed
            )
        status, _, self.peak = wait(running.pid)
        running.returncode = os.waitstatus_to_exitcode(status)
        assert running.returncode == 0
        return out.read_text()

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "--json"))


async def fill(url: str, number: int) -> None:
    """Create sessions; every other one was last used ten days ago."""
    store = open_store(url, timeout=60)
    at = now()
    for start in range(0, number, AT_ONCE):
        made = await asyncio.gather(
            *(
                store.create(
                    Record(new_id()[:21] + "A", at, at - idle * 240 * HOUR, at + 100 * HOUR, b'{"n":1}')
                )
                for idle in (n % 2 for n in range(start, start + AT_ONCE))
            )
        )
        assert None not in made
    await store.close()


async def test_a_million_sessions_take_bounded_memory(url: str, tmp_path: Path) -> None:
    cart = Command(url, tmp_path)
    store = open_store(url)
    at = now()
    await store.create(Record(new_id()[:21] + "A", at, at, at + 100 * HOUR, b"{}"))
    await store.close()
    assert len(cart.json("sessions", "list")) == 1
    bound = cart.peak + SPARE

    await fill(url, MILLION)
    assert len(cart.json("sessions", "list", "--limit", "10")) == 10
    assert cart.peak < bound
    assert cart.json("sessions", "stats")["sessions"] == MILLION + 1
    assert cart.peak < bound
    assert "Ended" in cart("sessions", "purge", "--idle", "7d", "--yes")
    assert cart.peak < bound
    figures = cart.json("sessions", "stats")
    assert figures["sessions"] == MILLION // 2 + 1
    assert "Removed" in cart("sessions", "purge", "--expired")
    assert cart.peak < bound
    assert cart.json("sessions", "stats")["sessions"] == MILLION // 2 + 1


async def test_the_wal_stays_small_during_a_large_purge_with_concurrent_writes(tmp_path: Path) -> None:
    file = tmp_path / "sessions.db"
    url = f"sqlite:///{file}"
    await fill(url, MILLION)
    with closing(sqlite3.connect(file)) as database:
        keys = [key for (key,) in database.execute("SELECT skey FROM cart_session ORDER BY rowid LIMIT 100")]
        database.execute("UPDATE cart_session SET expires = 1 WHERE rowid % 2 AND rowid > 200")
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    writers = [piped(touch_forever, url, keys) for _ in range(2)]
    assert [answer(pipe) for _, pipe in writers] == ["ready"] * 2
    log, largest = file.with_name("sessions.db-wal"), 0
    purge = asyncio.create_task(asyncio.to_thread(Command(url, tmp_path), "sessions", "purge", "--expired"))
    while not purge.done():
        largest = max(largest, log.stat().st_size)
        await asyncio.sleep(0.05)
    assert "Removed" in purge.result()
    for writer, _ in writers:
        writer.kill()
    assert largest < 32 << 20
