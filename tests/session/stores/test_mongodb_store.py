"""The MongoDB store beyond the contract."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace
from pymongo.collection import Collection

from cartapp.session.errors import InvalidStoreURL, StoreUnavailable, UnreadableRecord
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, now
from cartapp.session.stores.mongodb.store import MongoStore
from cartapp.session.stores.mongodb.url import parse
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.urls import split_url
from tests.conftest import ManualClock
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.mongodb import MongoServer
from tests.support.session_layer import SessionLayer
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio


@pytest.fixture
def sessions(mongodb_server: MongoServer) -> Iterator[Collection[dict[str, Any]]]:
    """Return the store's collection, emptied, on a separate connection."""
    mongodb_server.empty()
    with mongodb_server.client() as client:
        yield client["cart"]["sessions"]


@pytest.fixture
async def store(
    mongodb_server: MongoServer, sessions: Collection[dict[str, Any]], clock: ManualClock
) -> AsyncIterator[MongoStore]:
    store = MongoStore(parse(split_url(mongodb_server.url)), clock=clock, timeout=STORE_TIMEOUT)
    yield store
    await store.close()


@pytest.fixture
def record(clock: ManualClock) -> Record:
    return make_record(clock.now, user_id="7")


# -- the URL ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "database", "collection", "uri"),
    [
        ("mongodb://h", "cart", "sessions", "mongodb://h/"),
        ("mongodb://a:1,b:2/shop?replicaSet=r", "shop", "sessions", "mongodb://a:1,b:2/shop?replicaSet=r"),
        ("mongodb://h/?collection=web.s&w=1", "cart", "web.s", "mongodb://h/?w=1"),
        ("mongodb+srv://u:p%40@name.example/db", "db", "sessions", "mongodb+srv://u:p%40@name.example/db"),
    ],
)
def test_parts_of_a_url(url: str, database: str, collection: str, uri: str) -> None:
    address = parse(split_url(url))
    assert (address.database, address.collection, address.uri) == (database, collection, uri)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://",
        "mongodb://h:70000",
        "mongodb://user:secret@h/a/b",
        "mongodb://user:secret@h/a.b",
        "mongodb://user:secret@h/?collection=",
        "mongodb://user:secret@h/?collection=a$b",
        "mongodb://user:secret@h/?collection=a..b",
        "mongodb://user:secret@h/?collection=.a",
        "mongodb://user:secret@h/?collection=system.users",
        "mongodb://user:sec@ret@h/",
        "mongodb://user:secret@h/?maxpoolsize=many",
        "mongodb://user:secret@h/?unheard=of",
        "mongodb://user:secret@h/#1",
    ],
)
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


async def test_driver_options() -> None:
    store = open_store("mongodb+srv://u:p@name.example/db", timeout=1.5, pool_size=7)
    assert isinstance(store, MongoStore)
    options = store._operations.client.options
    assert options.pool_options.max_pool_size == 7
    assert options.pool_options.wait_queue_timeout == 4.5  # longer than the store's timeout
    assert options.pool_options.connect_timeout == 4.5
    assert options.pool_options.socket_timeout == 4.5
    assert options.server_selection_timeout == 4.5
    assert options.write_concern.document == {"w": "majority", "wtimeout": 1500}


async def test_the_url_is_stronger() -> None:
    store = open_store("mongodb://h/?w=1&maxPoolSize=3&readPreference=secondary&socketTimeoutMS=100")
    assert isinstance(store, MongoStore)
    options = store._operations.client.options
    assert options.write_concern.document["w"] == 1
    assert options.pool_options.max_pool_size == 3
    assert options.pool_options.socket_timeout == 0.1
    assert store._sessions.read_preference.mode == 0  # but for this: what is read must be the current_slot


async def test_errors_do_not_tell_the_password(mongodb_server: MongoServer, record: Record) -> None:
    url = mongodb_server.url.replace("://", "://user:secret@")
    store = open_store(url, timeout=0.5)
    with pytest.raises(StoreUnavailable) as caught:
        await store.load(record.key)
    assert "secret" not in str(caught.value)
    assert mongodb_server.address in str(caught.value)
    await store.close()


# -- documents ----------------------------------------------------------------------------------------------


async def test_a_document_can_be_read_by_people_and_other_programs(
    store: MongoStore, sessions: Collection[dict[str, Any]], record: Record
) -> None:
    version = await store.create(record)
    moment = datetime.fromtimestamp(record.created / 1000, UTC).replace(tzinfo=None)
    expiry = datetime.fromtimestamp(record.expires / 1000, UTC).replace(tzinfo=None)
    assert sessions.find_one() == {
        "_id": record.key,
        "version": version,
        "created": moment,
        "last_used": moment,
        "expires": expiry,
        "user": "7",
        "epoch": 0,
        "data": record.data,
        "size": len(record.data),
    }


async def test_an_expired_record_still_stored_is_replaced(
    store: MongoStore, record: Record, clock: ManualClock
) -> None:
    await store.create(record)
    clock.now = record.expires
    again = make_record(clock.now, key=record.key, data=b"again")
    version = await store.create(again)
    assert version is not None
    assert await store.load(record.key) == replace(again, version=version)
    assert await store.create(again) is None


async def test_stale_reader_cannot_write_a_recreated_record(store: MongoStore, record: Record) -> None:
    first = await store.create(record)
    assert first is not None
    await store.delete(record.key)
    await store.create(record)
    assert await store.save(record, expected=first) is None
    assert not await store.delete(record.key, expected=replace(record, version=first))


@pytest.mark.promise(10, backend="mongodb")
@pytest.mark.parametrize(
    "change",
    [
        {"$unset": {"data": ""}},
        {"$unset": {"user": ""}},
        {"$unset": {"expires": ""}},
        {"$set": {"expires": "tomorrow"}},
        {"$set": {"data": "text"}},
        {"$set": {"data": {"nested": ["deeply"]}}},
        {"$set": {"version": "2"}},
        {"$set": {"user": 7}},
        {"$set": {"created": 1.5}},
    ],
    ids=str,
)
async def test_an_invalid_record_is_unreadable(
    store: MongoStore, sessions: Collection[dict[str, Any]], record: Record, change: dict[str, Any]
) -> None:
    await store.create(record)
    assert sessions.update_one({"_id": record.key}, change).modified_count == 1
    with pytest.raises(UnreadableRecord):
        await store.load(record.key)
    assert await store.create(record) is None
    assert await store.delete(record.key)
    assert await store.create(record) is not None


async def test_listing_skips_invalid_records(
    store: MongoStore,
    sessions: Collection[dict[str, Any]],
    record: Record,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await store.create(record)
    broken = make_record(clock.now)
    await store.create(broken)
    sessions.update_one({"_id": broken.key}, {"$set": {"last_used": "never"}})
    sessions.insert_one({"something": "else"})
    caplog.clear()
    with caplog.at_level(logging.WARNING, "cartapp.session"):
        assert [found.key async for found in store.scan()] == [record.key]
    assert [logged.args and logged.args[0] for logged in caplog.records] == [broken.key]  # type: ignore[index]


# -- expiry, indexes and purging ----------------------------------------------------------------------------


async def test_indexes_are_created_with_the_first_record_or_logged_once(
    store: MongoStore,
    sessions: Collection[dict[str, Any]],
    record: Record,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "cartapp.session"):
        await store.load(record.key)
        assert sessions.index_information() == {}
        for _ in range(3):
            await store.create(make_record(clock.now))
    indexes = sessions.index_information()
    assert set(indexes) == {"_id_", "expires_1", "user_1"}
    removes_by_itself = indexes["expires_1"].get("expireAfterSeconds") == 3600
    said = ["stay in" in logged.getMessage() for logged in caplog.records]
    assert said == ([] if removes_by_itself else [True])


async def test_purge_continues_until_all_are_removed(store: MongoStore, clock: ManualClock) -> None:
    for _ in range(450):
        await store.create(make_record(clock.now, expires=clock.now + 1000))
    live = make_record(clock.now)
    await store.create(live)
    clock.advance(1)
    assert await store.purge(clock.now) == 450
    assert await store.load(live.key) is not None


async def test_a_session_in_use_is_not_purged(store: MongoStore, clock: ManualClock) -> None:
    records = [make_record(clock.now, expires=clock.now + 1000) for _ in range(300)]
    versions = [await store.create(record) for record in records]

    async def touch(record: Record, version: Any) -> bool:
        return await store.touch(record.key, expected=version, last_used=clock.now, expires=clock.now + HOUR)

    used = records[::3]
    touches = [touch(record, version) for record, version in zip(used, versions[::3], strict=True)]
    purged, *touched = await asyncio.gather(store.purge(clock.now + 1000), *touches)
    alive = [record for record, was in zip(used, touched, strict=True) if was]
    clock.advance(1)
    for record in alive:
        assert await store.load(record.key) is not None
    assert purged == len(records) - len(alive)


# -- economy ------------------------------------------------------------------------------------------------


@pytest.mark.promise(7, backend="mongodb")
async def test_store_operations_of_each_kind_of_request(
    mongodb_server: MongoServer, store: MongoStore, record: Record, clock: ManualClock
) -> None:
    await store.create(record)  # creates the indexes
    layer = SessionLayer(store, clock, SessionPolicy(ttl=600))
    before = mongodb_server.operations()

    def operations() -> int:
        nonlocal before
        before, last = mongodb_server.operations(), before
        return before - last

    await layer.load(None)
    assert operations() == 0
    cookie = await layer.begin(n=1)
    assert operations() == 1
    await layer.read(cookie)
    assert operations() == 1
    session, _ = await layer.load(cookie)
    session["n"] = 2
    await session.save()
    assert operations() == 2
    clock.advance(61)
    session, _ = await layer.load(cookie)
    await session.save()
    assert operations() == 2  # keep-alive
    session, _ = await layer.load(cookie)
    session.destroy()
    await session.save()
    assert operations() == 2
    assert await layer.read(cookie) == {}


@pytest.mark.promise(11, backend="mongodb")
async def test_more_requests_at_once_than_connections_wait(mongodb_server: MongoServer) -> None:
    store = open_store(mongodb_server.url, pool_size=2, timeout=10)
    record = make_record(now())
    await store.create(record)
    assert all(await asyncio.gather(*(store.load(record.key) for _ in range(200))))
    await store.close()
