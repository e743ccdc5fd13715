"""Copying sessions between stores: nobody is logged out, and doing it again is harmless."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from cartapp.session.record import Record, Version, key_of, new_id
from cartapp.session.stores.engine import Database
from cartapp.session.stores.file import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.sql import SqlStore
from cartapp.session.transfer import copy_sessions
from tests.conftest import ManualClock
from tests.layer import Layer

pytestmark = pytest.mark.anyio


class Interrupted(SqlStore):
    """A target that fails after three sessions."""

    left = 3

    async def create(self, record: Record) -> Version | None:
        self.left -= 1
        if self.left < 0:
            raise OSError("pulled the plug")
        return await super().create(record)


async def test_sessions_move_with_expiry_and_user(clock: ManualClock, tmp_path: Path) -> None:
    source = Layer(FileStore(tmp_path / "sessions", clock=clock), clock)
    cookies = [await source.begin(number=number) for number in range(10)]
    session, visit = await source.visit(cookies[0])
    session.log_in("7", epoch=3)
    await session.save()
    cookies[0] = visit.cookie() or ""

    target = Interrupted(Database(f"sqlite:///{tmp_path}/cart.db", timeout=20), clock=clock)
    with pytest.raises(OSError, match="plug"):
        await copy_sessions(source.store, target)
    target.left = 100
    copied = await copy_sessions(source.store, target)
    assert (copied.created, copied.kept, copied.replaced) == (7, 3, 0)
    moved = Layer(target, clock)
    for number, cookie in enumerate(cookies):
        assert await moved.read(cookie) == {"number": number}
        before, after = await source.store.load(key_of(cookie)), await target.load(key_of(cookie))
        assert before is not None
        assert after is not None
        assert replace(before, version=0) == replace(after, version=0)

    again = await copy_sessions(source.store, target)
    assert (again.created, again.kept, again.replaced) == (0, 10, 0)
    await source.store.close()
    await target.close()


async def test_the_later_last_use_wins(clock: ManualClock) -> None:
    older, newer = MemoryStore(clock=clock), MemoryStore(clock=clock)
    key = key_of(new_id())
    record = Record(key, clock(), clock(), clock() + 9_000_000, b'{"old":1}')
    await older.create(record)
    await newer.create(replace(record, last_used=clock() + 1, data=b'{"new":1}'))
    assert (await copy_sessions(older, newer)).kept == 1
    assert (await copy_sessions(newer, older)).replaced == 1
    for store in (older, newer):
        held = await store.load(key)
        assert held is not None
        assert held.data == b'{"new":1}'
