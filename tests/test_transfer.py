"""Copying sessions between stores: nobody is logged out, and doing it again is harmless."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from cartapp.session.record import Record, Summary, Version, key_of, new_id
from cartapp.session.stores.engine import Database
from cartapp.session.stores.file import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.sql import TABLE, SqlStore
from cartapp.session.transfer import copy_sessions
from tests.conftest import ManualClock
from tests.layer import Layer
from tests.stores import make_record

pytestmark = pytest.mark.anyio


class Interrupted(SqlStore):
    """A target that fails after three sessions."""

    left = 3

    async def create(self, record: Record) -> Version | None:
        self.left -= 1
        if self.left < 0:
            raise OSError("pulled the plug")
        return await super().create(record)


class Renewed(MemoryStore):
    """A source whose sessions get a new id right after they were listed."""

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        async for summary in super().scan(user_id=user_id):
            record = await self.load(summary.key)
            assert record is not None
            await self.save(replace(record, data=b""), expected=record.version)
            yield summary


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


async def test_what_has_expired_or_is_unreadable_in_the_target_makes_way(
    clock: ManualClock, tmp_path: Path
) -> None:
    source = MemoryStore(clock=clock)
    database = Database(f"sqlite:///{tmp_path}/cart.db", timeout=20)
    target = SqlStore(database, clock=clock)
    records = [make_record(clock.now) for _ in range(2)]
    for record in records:
        await source.create(record)
    await target.create(replace(records[0], expires=clock.now))
    await target.create(records[1])
    broken = update(TABLE).where(TABLE.c.skey == records[1].key).values(version="garbage")
    assert await database.execute(broken) == 1
    assert (await copy_sessions(source, target)).created == 2
    for record in records:
        assert await target.load(record.key) == replace(record, version=1)
    await target.close()


async def test_an_id_that_is_given_up_meanwhile_is_not_copied(clock: ManualClock) -> None:
    source, target = Renewed(clock=clock), MemoryStore(clock=clock)
    record = make_record(clock.now)
    await source.create(record)
    assert (await copy_sessions(source, target)).seen == 0
    assert await target.load(record.key) is None
