"""Several memcached servers that share the keys."""

import asyncio
from collections.abc import Iterator

import pytest

from cartapp.session.errors import StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, now
from cartapp.session.stores.memcached.store import MemcachedStore
from cartapp.session.stores.memcached.url import Address
from tests.support.servers.memcached import MemcachedServer, running
from tests.support.session_layer import SessionLayer
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio


TIMEOUT = 3.0
"""Seconds; servers that respond need much less, also on a busy machine."""


def opened(*servers: MemcachedServer, timeout: float = TIMEOUT) -> MemcachedStore:
    return MemcachedStore(Address(tuple(("127.0.0.1", server.port) for server in servers)), timeout=timeout)


@pytest.fixture(scope="module")
def three() -> Iterator[list[MemcachedServer]]:
    with running() as one, running() as two, running() as three:
        yield [one, two, three]


@pytest.fixture
def servers(three: list[MemcachedServer]) -> list[MemcachedServer]:
    for server in three:
        server.execute(b"flush_all")
    return three


def holder(servers: list[MemcachedServer], record: Record) -> MemcachedServer:
    """Return the server that has the record."""
    (has,) = [
        server for server in servers if server.execute(b"mg cart:session:" + record.key.encode()) == [b"HD"]
    ]
    return has


async def test_keys_are_spread_and_the_order_of_servers_says_nothing(servers: list[MemcachedServer]) -> None:
    store, reordered = opened(*servers), opened(*reversed(servers))
    records = [make_record(now()) for _ in range(300)]
    for record in records:
        await store.create(record)
    assert all(server.stats()["curr_items"] > 50 for server in servers)
    for record in records:
        assert await reordered.load(record.key) is not None
    assert {found.key async for found in reordered.scan()} == {record.key for record in records}
    await store.close()
    await reordered.close()


async def test_an_additional_server_takes_only_its_own_keys(servers: list[MemcachedServer]) -> None:
    two, three = opened(*servers[:2]), opened(*servers)
    records = [make_record(now()) for _ in range(300)]
    for record in records:
        await two.create(record)
    still = [await three.load(record.key) is not None for record in records]
    assert 150 < sum(still) < 250  # about two thirds stay on their server
    await two.close()
    await three.close()


async def test_only_the_keys_of_a_stopped_server_are_unavailable(
    servers: list[MemcachedServer],
) -> None:
    store = opened(*servers)
    records = [make_record(now()) for _ in range(60)]
    versions = [await store.create(record) for record in records]
    homes = [holder(servers, record) for record in records]
    down = servers[0]
    down.server.stop()
    try:
        with pytest.raises(StoreUnavailable, match=down.address):
            await store.ping()
        for record, version, home in zip(records, versions, homes, strict=True):
            assert version is not None
            if home is not down:
                assert await store.load(record.key) is not None
                continue
            for operation in (
                store.load(record.key),
                store.save(record, expected=version),
                store.create(record),
                store.delete(record.key),
            ):
                with pytest.raises(StoreUnavailable, match=down.address):
                    await operation
    finally:
        down.server.start()
    for record, home in zip(records, homes, strict=True):
        assert (await store.load(record.key) is None) == (home is down)
    await store.close()


async def test_a_hanging_server_does_not_delay_keys_of_others(servers: list[MemcachedServer]) -> None:
    store = opened(*servers)
    layer = SessionLayer(store, now, SessionPolicy(timeout=TIMEOUT))
    cookies = [await layer.begin(n=number) for number in range(60)]
    servers[0].server.pause()
    try:
        answers = await asyncio.gather(*(layer.read(cookie) for cookie in cookies), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StoreUnavailable)]
        assert 0 < len(refused) < 40
        assert all(servers[0].address in str(answer) for answer in refused)
        assert [a for a in answers if a not in refused] == [
            {"n": n} for n, a in enumerate(answers) if a not in refused
        ]
        again = await asyncio.gather(*(layer.read(cookie) for cookie in cookies), return_exceptions=True)
        assert [type(answer) for answer in again] == [type(answer) for answer in answers]
    finally:
        servers[0].server.resume()
    await store.close()
