"""Copies that are killed or concurrent, and damaged records in either store."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from cartapp.session.admin.copy import CopyResult, copy_sessions
from cartapp.session.admin.copy_ledger import chunk_number, make_reservation
from cartapp.session.crypto import KeyRing
from cartapp.session.errors import StoreNotSupported, StoreUnavailable, UnreadableRecord
from cartapp.session.record import PLACEHOLDER, Record, Summary, Version, key_from_id
from cartapp.session.stores.cookie import NoStore
from cartapp.session.stores.file.store import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE, SqlStore
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.store_pairs import (
    CrashingProcess,
    CrashingStore,
    ProcessKilled,
    StorePair,
    end_session,
    is_live,
    list_keys,
    load_record,
    read_as_request,
    rotate_session,
    update_session,
)
from tests.support.stores import HOUR, file_of, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair(clock: ManualClock) -> StorePair:
    return StorePair(
        SessionLayer(MemoryStore(clock=clock), clock), SessionLayer(MemoryStore(clock=clock), clock), clock
    )


# -- killed -----------------------------------------------------------------------------------------------


async def copied_by(process: CrashingProcess, pair: StorePair) -> None:
    source, target = pair.source.store, pair.target.store
    assert isinstance(source, MemoryStore)
    assert isinstance(target, MemoryStore)
    await copy_sessions(CrashingStore(source, process), CrashingStore(target, process), clock=pair.clock)


@dataclass
class Story:
    """Copy, change both stores, kill copies, change the target, and copy again."""

    pair: StorePair
    cookies: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        source, target = self.pair.source, self.pair.target
        for name in ("same", "ended", "rotated", "changed", "read", "used", "both", "late", "gone", "mine"):
            self.cookies[name] = await source.begin(n=name)
        await self.pair.copy()
        for name in ("changed", "read", "used", "both", "late", "gone"):
            await update_session(source, self.cookies[name], n=f"{name}, changed")
        await end_session(source, self.cookies["ended"])
        self.cookies["moved"] = await rotate_session(source, self.cookies["rotated"])
        await end_session(target, self.cookies["mine"])
        self.pair.clock.advance(1)
        await update_session(target, self.cookies["both"], m=1)
        for name in ("new", "new, ended", "new, late"):
            self.cookies[name] = await source.begin(n=name)

    async def go_on(self) -> bool:
        """Continue after the kill; return whether a new session could be ended in the target."""
        source, target = self.pair.source, self.pair.target
        self.pair.clock.advance(600)
        await read_as_request(target, self.cookies["read"])
        await update_session(target, self.cookies["used"], m=1)
        await end_session(target, self.cookies["gone"])
        for name in ("late", "new, late"):
            await end_session(source, self.cookies[name])
        could_end = await is_live(target, self.cookies["new, ended"])
        if could_end:
            await end_session(target, self.cookies["new, ended"])
        return could_end

    async def check(self, *, was_ended: bool) -> None:
        expected: dict[str, dict[str, object]] = {
            "same": {"n": "same"},
            "changed": {"n": "changed, changed"},
            "read": {"n": "read, changed"},
            "both": {"n": "both", "m": 1},
            "moved": {"n": "rotated"},
            "new": {"n": "new"},
        }
        if not was_ended:
            expected["new, ended"] = {"n": "new, ended"}
        found = {name: await self.pair.target.read(cookie) for name, cookie in self.cookies.items()}
        used = found.pop("used")
        assert {name: data for name, data in found.items() if data} == expected
        assert used in ({"n": "used", "m": 1}, {"n": "used, changed", "m": 1})
        assert await list_keys(self.pair.target) == {
            key_from_id(self.cookies[name]) for name in (*expected, "used")
        }


@pytest.mark.parametrize("after_call", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kills", [1, 2])
async def test_a_kill_at_any_call_neither_loses_nor_revives_sessions(
    clock: ManualClock, kills: int, after_call: bool
) -> None:
    crash_at, was_killed = 0, True
    while was_killed:
        crash_at += 1
        source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
        story = Story(StorePair(SessionLayer(source, clock), SessionLayer(target, clock), clock))
        await story.begin()
        processes = [CrashingProcess(at, after_call) for at in (crash_at, 1 + crash_at * 5 % 60)]
        for process in processes[:kills]:
            with suppress(ProcessKilled):
                await copied_by(process, story.pair)
        was_killed = processes[0].crashed
        was_ended = await story.go_on()
        await story.pair.copy()
        await story.check(was_ended=was_ended)
        again = await story.pair.copy()
        assert (again.created, again.replaced, again.ended) == (0, 0, 0)
    assert crash_at > 60


async def test_a_reserved_session_is_absent_until_it_is_copied(pair: StorePair) -> None:
    cookie = await pair.source.begin(n=1)
    reservation = make_reservation(await load_record(pair.source, cookie))
    await pair.target.store.create(reservation)
    assert not pair.target.policy.is_live(reservation, pair.clock.now)
    assert await pair.target.read(cookie) == {}
    assert await list_keys(pair.target) == set()
    session, request_session = await pair.target.load(cookie)
    session["n"] = 2
    await session.save()
    assert request_session.cookie() not in (None, cookie)
    assert await pair.copy() == CopyResult(created=1)
    assert await pair.target.read(cookie) == {"n": 1}
    other = await pair.source.begin(n=1)
    reservation = make_reservation(await load_record(pair.source, other))
    await pair.target.store.create(reservation)
    await end_session(pair.source, other)
    assert await pair.copy() == CopyResult(kept=1)
    assert not await is_live(pair.target, other)


# -- damage and refusals ------------------------------------------------------------------------------------


class Emptied(MemoryStore):
    """A source that is emptied after its listing."""

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        async for summary in super().scan(user_id=user_id):
            yield summary
        self._records.clear()


class WriteProtected(MemoryStore):
    """A read-only source."""

    async def create(self, record: Record) -> Version | None:
        raise StoreUnavailable("Read-only.")


async def test_an_emptied_source_ends_no_session(pair: StorePair, clock: ManualClock) -> None:
    cookie = await pair.create_and_copy(n=1)
    emptied = MemoryStore(clock=clock)
    assert await copy_sessions(emptied, pair.target.store, clock=clock) == CopyResult()
    assert await pair.target.read(cookie) == {"n": 1}


async def test_a_source_emptied_during_the_copy_ends_no_session(pair: StorePair, clock: ManualClock) -> None:
    cookie = await pair.create_and_copy(n=1)
    emptied = Emptied(clock=clock)
    assert isinstance(pair.source.store, MemoryStore)
    emptied._records.update(pair.source.store._records)
    with pytest.raises(StoreUnavailable, match="emptied or replaced"):
        await copy_sessions(emptied, pair.target.store, clock=clock)
    assert await pair.target.read(cookie) == {"n": 1}


async def test_a_read_only_source_is_copied_and_ends_no_session(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = WriteProtected(clock=clock)
    pair = StorePair(SessionLayer(source, clock), SessionLayer(MemoryStore(clock=clock), clock), clock)
    kept, ended, changed_there = (make_record(clock.now) for _ in range(3))
    source._records = {each.key: replace(each, version=1) for each in (kept, ended, changed_there)}
    assert await pair.copy() == CopyResult(created=3, source_marked=False)
    assert "not ended in the target" in caplog.text
    del source._records[ended.key]
    await pair.target.store.delete(kept.key)
    source._records[changed_there.key] = replace(changed_there, last_used=clock.now + 1, data=b'{"n":2}')
    assert await pair.copy() == CopyResult(changed_in_both=1, ended_in_target=1, source_marked=False)
    assert await list_keys(pair.target) == {ended.key, changed_there.key}


async def test_expired_and_unreadable_records_in_the_target_are_replaced(
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
    assert (await copy_sessions(source, target, clock=clock)).created == 2
    for record in records:
        assert await target.load(record.key) == replace(record, version=2)
    assert await database.execute(broken) == 1
    assert await copy_sessions(source, target, clock=clock) == CopyResult(created=1, kept=1)
    await target.close()


async def test_unreadable_sessions_are_counted(
    clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = KeyRing(token_urlsafe(32))
    source, target = MemoryStore(clock=clock), FileStore(tmp_path, clock=clock)
    unreadable, blocked, whole = (make_record(clock.now) for _ in range(3))
    await source.create(unreadable)
    for record in (blocked, whole):
        await EncryptedStore(source, key).create(record)
    file_of(tmp_path, blocked).mkdir(parents=True)
    copied = await copy_sessions(EncryptedStore(source, key), target, clock=clock)
    assert copied == CopyResult(created=1, unreadable=2)
    assert f"{unreadable.key} was not copied" in caplog.text
    assert f"{blocked.key} was not copied" in caplog.text
    await target.close()


async def test_an_unreadable_ledger_raises(pair: StorePair) -> None:
    await pair.create_and_copy(n=1)
    assert isinstance(pair.target.store, MemoryStore)
    for record in pair.target.store._records.values():
        if record.is_placeholder:
            await pair.target.store.save(replace(record, data=PLACEHOLDER), expected=record.version)
    with pytest.raises(UnreadableRecord, match="ledger of copied sessions is unreadable in record"):
        await pair.copy()


async def test_an_unreadable_mark_is_replaced(pair: StorePair) -> None:
    cookie = await pair.create_and_copy(n=1)
    assert isinstance(pair.source.store, MemoryStore)
    (mark,) = (record for record in pair.source.store._records.values() if record.is_placeholder)
    await pair.source.store.save(replace(mark, data=PLACEHOLDER), expected=mark.version)
    assert await pair.copy() == CopyResult(kept=1)
    await end_session(pair.source, cookie)
    assert await pair.copy() == CopyResult(ended=1)


async def test_a_source_that_cannot_list_raises(pair: StorePair) -> None:
    with pytest.raises(StoreNotSupported, match="cannot list"):
        await copy_sessions(NoStore(), pair.target.store)


async def test_the_next_copy_completes_one_that_failed(
    pair: StorePair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cookies = [await pair.source.begin(n=number) for number in range(300)]
    process = CrashingProcess(crash_at=700)
    with pytest.raises(ProcessKilled):
        await copied_by(process, pair)
    before = len(await list_keys(pair.target))
    assert 0 < before < 300
    assert await pair.copy() == CopyResult(created=300 - before, kept=before)
    assert await list_keys(pair.target) == set(map(key_from_id, cookies))


def of_one_chunk(number: int, now: int) -> list[Record]:
    """Records of new sessions that share a chunk of the ledger."""
    records = [make_record(now) for _ in range(number)]
    records = [replace(record, key="AAA" + record.key[3:]) for record in records]
    assert {chunk_number(record.key) for record in records} == {0}
    return records


async def test_many_sessions_in_one_chunk(pair: StorePair) -> None:
    """More sessions than one write of the ledger covers."""
    records = of_one_chunk(300, pair.clock.now)
    for record in records:
        await pair.source.store.create(record)
    assert await pair.copy() == CopyResult(created=300)
    for record in records[:200]:
        await pair.source.store.delete(record.key)
    assert await pair.copy() == CopyResult(kept=100, ended=200)


async def test_the_ledger_distinguishes_expired_from_ended_copies(pair: StorePair) -> None:
    expired, other = of_one_chunk(2, pair.clock.now)
    await pair.source.store.create(expired)
    await pair.source.store.create(replace(other, expires=other.expires + HOUR))
    await pair.copy()
    used = {"last_used": pair.clock.now + 1, "expires": expired.expires + HOUR}
    for record in (expired, other):
        assert await pair.source.store.touch(record.key, expected=1, **used)
    pair.clock.advance(3700)
    await pair.target.store.delete(other.key)
    assert await pair.copy() == CopyResult(created=1, ended_in_target=1)
    assert await list_keys(pair.target) == {expired.key}


async def test_versions_of_source_and_target_are_independent(pair: StorePair) -> None:
    """Stores count versions, so a session may have the same version in both."""
    cookie = await pair.create_and_copy(n=1)
    for number in range(3):
        await update_session(pair.target, cookie, n=number)
    pair.clock.advance(1)
    await update_session(pair.source, cookie, n=4)
    replaced = (await load_record(pair.target, cookie)).version
    await pair.copy()
    for number in range(3):
        await update_session(pair.source, cookie, n=number)
    assert (await load_record(pair.source, cookie)).version == replaced
    back = StorePair(pair.target, pair.source, pair.clock)
    assert await back.copy() == CopyResult(kept=1)
    assert await pair.source.read(cookie) == {"n": 2}
