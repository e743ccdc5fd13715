"""Copying that is killed, that two processes do, or that meets damage in either store."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_urlsafe

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from cartapp.session.errors import StoreNotSupported, StoreUnavailable, UnreadableRecord
from cartapp.session.keys import KeyRing
from cartapp.session.ledger import chunk_of, reservation_of
from cartapp.session.record import PLACEHOLDER, Record, Summary, Version, key_of
from cartapp.session.stores.cookie import NoStore
from cartapp.session.stores.encrypted import EncryptedStore
from cartapp.session.stores.engine import Database
from cartapp.session.stores.file import FileStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.sql import TABLE, SqlStore
from cartapp.session.transfer import Copied, copy_sessions
from tests.conftest import ManualClock
from tests.layer import Layer
from tests.pairs import Killed, Pair, Process, Watched, change, end, is_live, listed, look, record_of, rotate
from tests.stores import HOUR, file_of, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def pair(clock: ManualClock) -> Pair:
    return Pair(Layer(MemoryStore(clock=clock), clock), Layer(MemoryStore(clock=clock), clock), clock)


# -- killed -----------------------------------------------------------------------------------------------


async def copied_by(process: Process, pair: Pair) -> None:
    source, target = pair.source.store, pair.target.store
    assert isinstance(source, MemoryStore)
    assert isinstance(target, MemoryStore)
    await copy_sessions(Watched(source, process), Watched(target, process), clock=pair.clock)


@dataclass
class Story:
    """A copy, changes in both stores, copies that are killed, changes in the target, and a last copy."""

    pair: Pair
    cookies: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        source, target = self.pair.source, self.pair.target
        for name in ("same", "ended", "rotated", "changed", "read", "used", "both", "late", "gone", "mine"):
            self.cookies[name] = await source.begin(n=name)
        await self.pair.copy()
        for name in ("changed", "read", "used", "both", "late", "gone"):
            await change(source, self.cookies[name], n=f"{name}, changed")
        await end(source, self.cookies["ended"])
        self.cookies["moved"] = await rotate(source, self.cookies["rotated"])
        await end(target, self.cookies["mine"])
        self.pair.clock.advance(1)
        await change(target, self.cookies["both"], m=1)
        for name in ("new", "new, ended", "new, late"):
            self.cookies[name] = await source.begin(n=name)

    async def go_on(self) -> bool:
        """What happens after the kill; returns whether a new session could be ended in the target."""
        source, target = self.pair.source, self.pair.target
        self.pair.clock.advance(600)
        await look(target, self.cookies["read"])
        await change(target, self.cookies["used"], m=1)
        await end(target, self.cookies["gone"])
        for name in ("late", "new, late"):
            await end(source, self.cookies[name])
        could_end = await is_live(target, self.cookies["new, ended"])
        if could_end:
            await end(target, self.cookies["new, ended"])
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
        assert await listed(self.pair.target) == {key_of(self.cookies[name]) for name in (*expected, "used")}


@pytest.mark.parametrize("afterwards", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kills", [1, 2])
async def test_a_kill_at_any_call_loses_and_revives_nothing(
    clock: ManualClock, kills: int, afterwards: bool
) -> None:
    dies_at, was_killed = 0, True
    while was_killed:
        dies_at += 1
        source, target = MemoryStore(clock=clock), MemoryStore(clock=clock)
        story = Story(Pair(Layer(source, clock), Layer(target, clock), clock))
        await story.begin()
        processes = [Process(dies_at, afterwards), Process(1 + dies_at * 5 % 60, afterwards)]
        for process in processes[:kills]:
            with suppress(Killed):
                await copied_by(process, story.pair)
        was_killed = processes[0].dead
        was_ended = await story.go_on()
        await story.pair.copy()
        await story.check(was_ended=was_ended)
        again = await story.pair.copy()
        assert (again.created, again.replaced, again.ended) == (0, 0, 0)
    assert dies_at > 60


async def test_a_session_that_is_reserved_is_absent_until_it_is_copied(pair: Pair) -> None:
    cookie = await pair.source.begin(n=1)
    reservation = reservation_of(await record_of(pair.source, cookie))
    await pair.target.store.create(reservation)
    assert not pair.target.policy.alive(reservation, pair.clock.now)
    assert await pair.target.read(cookie) == {}
    assert await listed(pair.target) == set()
    session, visit = await pair.target.visit(cookie)
    session["n"] = 2
    await session.save()
    assert visit.cookie() not in (None, cookie)
    assert await pair.copy() == Copied(created=1)
    assert await pair.target.read(cookie) == {"n": 1}
    other = await pair.source.begin(n=1)
    reservation = reservation_of(await record_of(pair.source, other))
    await pair.target.store.create(reservation)
    await end(pair.source, other)
    assert await pair.copy() == Copied(kept=1)
    assert not await is_live(pair.target, other)


# -- damage and refusals ------------------------------------------------------------------------------------


class Emptied(MemoryStore):
    """A source that loses everything when it was listed."""

    async def scan(self, *, user_id: str | None = None) -> AsyncIterator[Summary]:
        async for summary in super().scan(user_id=user_id):
            yield summary
        self._records.clear()


class WriteProtected(MemoryStore):
    """A source that takes no writes."""

    async def create(self, record: Record) -> Version | None:
        raise StoreUnavailable("Read-only.")


async def test_a_source_that_was_emptied_ends_nothing(pair: Pair, clock: ManualClock) -> None:
    cookie = await pair.copied(n=1)
    emptied = MemoryStore(clock=clock)
    assert await copy_sessions(emptied, pair.target.store, clock=clock) == Copied()
    assert await pair.target.read(cookie) == {"n": 1}


async def test_a_source_that_is_emptied_meanwhile_ends_nothing(pair: Pair, clock: ManualClock) -> None:
    cookie = await pair.copied(n=1)
    emptied = Emptied(clock=clock)
    assert isinstance(pair.source.store, MemoryStore)
    emptied._records.update(pair.source.store._records)
    with pytest.raises(StoreUnavailable, match="emptied or replaced"):
        await copy_sessions(emptied, pair.target.store, clock=clock)
    assert await pair.target.read(cookie) == {"n": 1}


async def test_a_source_without_writes_is_copied_and_ends_nothing(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    source = WriteProtected(clock=clock)
    pair = Pair(Layer(source, clock), Layer(MemoryStore(clock=clock), clock), clock)
    kept, ended, changed_there = (make_record(clock.now) for _ in range(3))
    source._records = {each.key: replace(each, version=1) for each in (kept, ended, changed_there)}
    assert await pair.copy() == Copied(created=3, source_marked=False)
    assert "not ended in the target" in caplog.text
    del source._records[ended.key]
    await pair.target.store.delete(kept.key)
    source._records[changed_there.key] = replace(changed_there, last_used=clock.now + 1, data=b'{"n":2}')
    assert await pair.copy() == Copied(replaced=1, ended_in_target=1, source_marked=False)
    assert await listed(pair.target) == {ended.key, changed_there.key}


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
    assert (await copy_sessions(source, target, clock=clock)).created == 2
    for record in records:
        assert await target.load(record.key) == replace(record, version=2)
    assert await database.execute(broken) == 1
    assert await copy_sessions(source, target, clock=clock) == Copied(created=1, kept=1)
    await target.close()


async def test_what_cannot_be_read_or_removed_is_counted(
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
    assert copied == Copied(created=1, unreadable=2)
    assert f"{unreadable.key} was not copied" in caplog.text
    assert f"{blocked.key} was not copied" in caplog.text
    await target.close()


async def test_an_unreadable_ledger_is_said(pair: Pair) -> None:
    await pair.copied(n=1)
    assert isinstance(pair.target.store, MemoryStore)
    for record in pair.target.store._records.values():
        if record.is_placeholder:
            await pair.target.store.save(replace(record, data=PLACEHOLDER), expected=record.version)
    with pytest.raises(UnreadableRecord, match="ledger of copied sessions is unreadable in record"):
        await pair.copy()


async def test_an_unreadable_mark_is_made_again(pair: Pair) -> None:
    cookie = await pair.copied(n=1)
    assert isinstance(pair.source.store, MemoryStore)
    (mark,) = (record for record in pair.source.store._records.values() if record.is_placeholder)
    await pair.source.store.save(replace(mark, data=PLACEHOLDER), expected=mark.version)
    assert await pair.copy() == Copied(kept=1)
    await end(pair.source, cookie)
    assert await pair.copy() == Copied(ended=1)


async def test_a_store_that_cannot_list_is_refused(pair: Pair) -> None:
    with pytest.raises(StoreNotSupported, match="cannot list"):
        await copy_sessions(NoStore(), pair.target.store)


async def test_a_source_that_fails_halfway_is_completed_by_the_next_copy(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    cookies = [await pair.source.begin(n=number) for number in range(300)]
    process = Process(dies_at=700)
    with pytest.raises(Killed):
        await copied_by(process, pair)
    before = len(await listed(pair.target))
    assert 0 < before < 300
    assert await pair.copy() == Copied(created=300 - before, kept=before)
    assert await listed(pair.target) == set(map(key_of, cookies))


def of_one_chunk(number: int, now: int) -> list[Record]:
    """Records of new sessions that share a chunk of the ledger."""
    records = [make_record(now) for _ in range(number)]
    records = [replace(record, key="AAA" + record.key[3:]) for record in records]
    assert {chunk_of(record.key) for record in records} == {0}
    return records


async def test_many_sessions_of_one_chunk(pair: Pair) -> None:
    """More than one write of the ledger is for."""
    records = of_one_chunk(300, pair.clock.now)
    for record in records:
        await pair.source.store.create(record)
    assert await pair.copy() == Copied(created=300)
    for record in records[:200]:
        await pair.source.store.delete(record.key)
    assert await pair.copy() == Copied(kept=100, ended=200)


async def test_the_ledger_tells_an_expired_copy_from_one_that_was_ended(pair: Pair) -> None:
    expired, other = of_one_chunk(2, pair.clock.now)
    await pair.source.store.create(expired)
    await pair.source.store.create(replace(other, expires=other.expires + HOUR))
    await pair.copy()
    used = {"last_used": pair.clock.now + 1, "expires": expired.expires + HOUR}
    for record in (expired, other):
        assert await pair.source.store.touch(record.key, expected=1, **used)
    pair.clock.advance(3700)
    await pair.target.store.delete(other.key)
    assert await pair.copy() == Copied(created=1, ended_in_target=1)
    assert await listed(pair.target) == {expired.key}


async def test_versions_of_the_source_say_nothing_of_the_target(pair: Pair) -> None:
    """Stores count their versions, so a session may have the same version in both."""
    cookie = await pair.copied(n=1)
    for number in range(3):
        await change(pair.target, cookie, n=number)
    pair.clock.advance(1)
    await change(pair.source, cookie, n=4)
    replaced = (await record_of(pair.target, cookie)).version
    await pair.copy()
    for number in range(3):
        await change(pair.source, cookie, n=number)
    assert (await record_of(pair.source, cookie)).version == replaced
    back = Pair(pair.target, pair.source, pair.clock)
    assert await back.copy() == Copied(kept=1)
    assert await pair.source.read(cookie) == {"n": 2}
