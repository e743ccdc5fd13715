"""The index of a user's sessions in Redis and Valkey: all live sessions and no ended ones."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from cartapp.session import Sessions, open_store
from cartapp.session.policy import TOMBSTONE_LIFETIME, SessionPolicy
from cartapp.session.record import Record, key_from_id, make_tombstone, new_id, now
from cartapp.session.stores.redis.store import RedisStore
from cartapp.settings import Settings
from cartapp.stores import create_store
from tests.conftest import ManualClock
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.redis import RedisServer, RedisServers
from tests.support.session_layer import SessionLayer
from tests.support.stores import HOUR, make_record, with_prefix

pytestmark = [pytest.mark.anyio, pytest.mark.promise(12, backend="redis")]

DAY = 24 * HOUR
WEEK = 7 * DAY
INDEX = "cart:session:logins:Zoë:7"
FORMER = "cart:session:user:Zoë:7"
USER = "Zoë:7"


@pytest.fixture(params=["redis_server", "valkey_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    """A server without any key."""
    server: RedisServer = request.getfixturevalue(request.param)
    server.execute("FLUSHALL")
    return server


@pytest.fixture
async def store(server: RedisServer, clock: ManualClock) -> AsyncIterator[RedisStore]:
    store = open_store(server.url, clock=clock, timeout=STORE_TIMEOUT, max_age=WEEK / 1000)
    assert isinstance(store, RedisStore)
    yield store
    await store.close()


async def logged_in(store: RedisStore, clock: ManualClock, **fields: int) -> Record:
    """Create a session of the user."""
    record = make_record(clock.now, user_id=USER, **fields)
    version = await store.create(record)
    assert version is not None
    return replace(record, version=version)


async def listed(store: RedisStore) -> list[str]:
    return sorted([found.key async for found in store.scan(user_id=USER)])


def members(server: RedisServer) -> list[str]:
    return sorted(name.decode() for name in server.execute("ZRANGE", INDEX, 0, -1))


# -- removal from the index ---------------------------------------------------------------------------------


async def test_b7_ended_sessions_leave_nothing(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    for _ in range(99):
        record = await logged_in(store, clock)
        assert await store.delete(record.key, expected=record)
    assert server.execute("DBSIZE") == 0


async def test_b7_a_session_changed_before_its_expiry_stays_in_the_index(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    record = await logged_in(store, clock)
    await store.save(replace(record, data=b"1"), expected=record.version)
    assert not await store.delete(record.key, expected=record)
    assert members(server) == [record.key]


async def test_b7_a_log_in_removes_expired_and_rotated_ids(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    """99 log-ins in one browser, each with a rotation of the session; then the last one expires."""
    record = await logged_in(store, clock, expires=clock.now + 60_000)
    for _ in range(99):
        successor = await logged_in(store, clock, expires=clock.now + 60_000)
        tombstone = make_tombstone(record, successor, clock.now + TOMBSTONE_LIFETIME)
        assert await store.save(tombstone, expected=record.version) is not None
        extended = replace(successor, expires=clock.now + HOUR)
        assert await store.touch(
            successor.key, expected=successor.version, last_used=clock.now, expires=extended.expires
        )
        record = extended
    clock.advance(61)
    for name in members(server):
        if name != record.key:
            server.execute("DEL", f"cart:session:{name}")  # as by the server's clock
    other = await logged_in(store, clock)
    assert members(server) == sorted([record.key, other.key])
    clock.advance(HOUR / 1000 + 1)
    server.execute("DEL", f"cart:session:{record.key}", f"cart:session:{other.key}")
    last = await logged_in(store, clock)
    assert members(server) == [last.key]


async def test_b7_listing_removes_expired_sessions_from_the_index(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    records = [await logged_in(store, clock) for _ in range(3)]
    await store.delete(records[0].key)
    assert len(members(server)) == 3
    assert await listed(store) == members(server) == sorted(record.key for record in records[1:])
    for record in records[1:]:
        await store.delete(record.key)
    assert await listed(store) == []
    assert server.execute("DBSIZE") == 0


# -- lifetime of the index ----------------------------------------------------------------------------------


async def test_b7_the_index_lives_as_long_as_its_longest_session(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    await logged_in(store, clock)
    assert WEEK - DAY < server.execute("PTTL", INDEX) <= WEEK
    await logged_in(store, clock, created=clock.now - 3 * DAY)  # created for a guest three days earlier
    assert WEEK - DAY < server.execute("PTTL", INDEX) <= WEEK
    server.execute("DEL", INDEX)
    await logged_in(store, clock, created=clock.now - 3 * DAY)
    assert 3 * DAY < server.execute("PTTL", INDEX) <= 4 * DAY


async def test_b7_without_a_maximum_age_the_index_lives_as_long_as_a_cookie_can(
    server: RedisServer, clock: ManualClock
) -> None:
    store = open_store(server.url, clock=clock, timeout=STORE_TIMEOUT)
    assert isinstance(store, RedisStore)
    await logged_in(store, clock)
    assert 399 * DAY < server.execute("PTTL", INDEX) <= 400 * DAY
    await store.close()


async def test_b7_application_passes_the_maximum_age_to_its_store(
    server: RedisServer, clock: ManualClock
) -> None:
    store = create_store(Settings(session_url=server.url, session_max_age=2 * DAY // 1000))
    assert isinstance(store, RedisStore)
    clock.now = now()
    await logged_in(store, clock)
    assert DAY < server.execute("PTTL", INDEX) <= 2 * DAY
    await store.close()


async def test_b7_a_session_that_is_kept_alive_stays_in_the_index(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    """Its score is its former expiry, so log-ins of the user check it and raise the score."""
    record = await logged_in(store, clock)
    for _ in range(5):
        for seconds in (1800, 1795):
            clock.advance(seconds)
            expires = clock.now + HOUR
            assert await store.touch(
                record.key, expected=record.version, last_used=clock.now, expires=expires
            )
        clock.advance(10)
        other = await logged_in(store, clock)
        assert members(server) == sorted([record.key, other.key])
        assert int(server.execute("ZSCORE", INDEX, record.key)) == expires
        assert await store.delete(other.key, expected=other)


async def test_b7_a_log_in_costs_two_more_commands_after_expiries(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    record = await logged_in(store, clock)
    await store.touch(record.key, expected=record.version, last_used=clock.now, expires=clock.now + DAY)
    clock.advance(HOUR / 1000 + 1)
    server.execute("CONFIG", "RESETSTAT")
    await logged_in(store, clock)
    in_script = {"zadd": 1, "pttl": 1, "zrangebyscore": 1}
    commands = server.commands()
    assert commands.pop("pexpire") <= 1  # the index may live long enough
    assert {name: commands.pop(name) - count for name, count in in_script.items()} == {
        "zadd": 1,  # for the new expiry
        "pttl": 0,
        "zrangebyscore": 0,
    }
    assert commands == {"set": 1, "evalsha": 1, "get": 1}


# -- sets of earlier versions -------------------------------------------------------------------------------


async def test_b7_sessions_in_the_set_of_an_earlier_version_are_found_and_ended(
    server: RedisServer, store: RedisStore, clock: ManualClock
) -> None:
    """Records of an earlier version that runs concurrently."""
    records = [await logged_in(store, clock) for _ in range(3)]
    server.execute("DEL", INDEX)
    gone = key_from_id(new_id())
    server.execute("SADD", FORMER, gone, *(record.key for record in records))
    new = await logged_in(store, clock)
    everything = sorted([new.key, *(record.key for record in records)])
    assert await listed(store) == everything
    assert server.execute("SISMEMBER", FORMER, gone) == 0
    assert server.execute("SCARD", FORMER) == 3
    assert await Sessions(store, clock=clock).end_user(USER) == 4
    assert await listed(store) == []
    assert server.execute("DBSIZE") == 0


# -- concurrency --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["redis_server", "redis_cluster"])
async def test_b7_concurrent_log_ins_and_log_outs_leave_exactly_the_live_sessions(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    """Several processes' stores log the same user in and out; some sessions are rotated concurrently."""
    servers: RedisServer | RedisServers = request.getfixturevalue(fixture)
    url = with_prefix(servers.url)
    stores = [open_store(url, timeout=STORE_TIMEOUT) for _ in range(3)]
    layers = [SessionLayer(store, now, SessionPolicy(timeout=STORE_TIMEOUT)) for store in stores]

    async def user(layer: SessionLayer, number: int) -> str | None:
        session, request_session = await layer.load()
        session.log_in(USER)
        await session.save()
        cookie = request_session.cookie()
        if number % 3 == 0:
            session, request_session = await layer.load(cookie)
            session.regenerate()
            await session.save()
            cookie = request_session.cookie()
        if number % 2 == 0:
            session, request_session = await layer.load(cookie)
            session.destroy()
            await session.save()
            return None
        assert cookie is not None
        return key_from_id(cookie)

    left = await asyncio.gather(*(user(layers[number % 3], number) for number in range(60)))
    live = sorted(key for key in left if key is not None)
    sessions = Sessions(stores[0])
    assert sorted([info.handle async for info in sessions.find(USER)]) == live
    assert await sessions.end_user(USER) == len(live) == 30
    assert [info async for info in sessions.find(USER)] == []
    for store in stores:
        await store.close()
