"""A copy from a folder or a SQLite file that the process may only read."""

import asyncio
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.record import now
from cartapp.session.stores import open_store
from cartapp.session.stores.memory import MemoryStore
from tests.support.servers.process import temporary_folder
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

URLS = {"file": "file://{}/sessions", "sqlite": "sqlite:///{}/cart.db"}

OTHER = 54321
"""A user without privileges, since root may write to every file."""


async def _copy(url: str) -> CopyResult:
    source, target = open_store(url), MemoryStore()
    try:
        return await copy_sessions(source, target)
    finally:
        await source.close()


def _copy_as_other(url: str, first: str) -> CopyResult:
    """Copy the `first` store, which imports the driver, and then the other one as its owner."""
    asyncio.run(_copy(first))
    if os.geteuid() == 0:
        os.setgid(OTHER)
        os.setuid(OTHER)
    return asyncio.run(_copy(url))


def make_read_only(folder: Path) -> None:
    """Leave the files in a folder to `OTHER`, without the right to write."""
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, OTHER, OTHER)
        if path != folder:  # SQLite's shared memory is a new file there
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


@pytest.mark.parametrize("name", URLS)
async def test_a_read_only_source_is_copied(name: str, tmp_path: Path) -> None:
    with temporary_folder() as folder:
        store = open_store(URLS[name].format(folder))
        for _ in range(3):
            await store.create(make_record(now()))
        await store.close()
        make_read_only(folder)
        urls = [URLS[name].format(folder), URLS[name].format(tmp_path)]
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            copied = await asyncio.to_thread(pool.apply, _copy_as_other, urls)
        assert copied == CopyResult(created=3, source_marked=False)
