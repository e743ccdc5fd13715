"""Stores on a client of the application."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cartapp.session.errors import StoreUnavailable, UnusableURL
from cartapp.session.record import new_id
from cartapp.session.stores import Store, redis_store, sql_store
from cartapp.session.stores.sql.store import SqlStore
from cartapp.session.testing import ManualClock
from cartapp.session.testing.records import make_record
from cartapp.session.testing.store_contract import (
    ListableStoreContract,
    PurgeableStoreContract,
    StoreContract,
    StoreFactory,
)
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT
from tests.support.servers.process import free_port
from tests.support.servers.redis import RedisServer

pytestmark = pytest.mark.anyio


def make_client(server: RedisServer, kind: str) -> Redis:
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "RESP3": {"protocol": 3, "decode_responses": True},
        "RESP2": {"protocol": 2, "decode_responses": True},
        "timeouts": {"socket_timeout": 5, "health_check_interval": 1},
    }
    if kind == "blocking pool":
        return Redis(connection_pool=BlockingConnectionPool.from_url(server.url, max_connections=1))
    return Redis.from_url(server.url, **kinds[kind])


class TestRedisClient(StoreContract, ListableStoreContract):
    @pytest.fixture(params=["plain", "RESP3", "RESP2", "timeouts", "blocking pool"])
    async def store_factory(
        self, request: pytest.FixtureRequest, redis_server: RedisServer, clock: ManualClock
    ) -> AsyncIterator[StoreFactory]:
        client, prefix = make_client(redis_server, request.param), f"{new_id()}:"
        yield lambda: redis_store(client, prefix=prefix, clock=clock)
        assert await client.ping()  # the store has closed only its own connections
        await client.aclose(close_connection_pool=True)


async def test_keys_have_the_prefix(redis_server: RedisServer, clock: ManualClock) -> None:
    async with Redis.from_url(redis_server.url) as client:
        prefix = f"{new_id()}:"
        store: Store = redis_store(client, prefix=prefix, clock=clock)
        record = make_record(clock(), user_id="7")
        await store.create(record)
        keys = {key async for key in client.scan_iter(match=f"{prefix}*")}
        assert keys == {f"{prefix}{record.key}".encode(), f"{prefix}logins:7".encode()}
        await store.close()


async def test_an_unreachable_server_of_a_client_is_named_at_once(tmp_path: Path) -> None:
    """redis-py's default retries would last longer than the timeout."""
    port, path = free_port(), tmp_path / "redis.sock"
    sentinel_kwargs = {"retry": Retry(NoBackoff(), 0)}
    sentinel = Sentinel([("127.0.0.1", port)], sentinel_kwargs=sentinel_kwargs)  # type: ignore[no-untyped-call]
    for client, address in (
        (Redis(port=port), f"localhost:{port}"),
        (Redis(unix_socket_path=str(path)), str(path)),
        (sentinel.master_for("shop"), f"127.0.0.1:{port}/shop"),
    ):
        store: Store = redis_store(client)
        with pytest.raises(StoreUnavailable) as raised:
            await store.ping()
        assert str(raised.value).startswith(f"The redis store at {address} cannot be used: ")
        await store.close()


@pytest.fixture(params=["postgresql+asyncpg", "postgresql+psycopg", "mysql+asyncmy", "mysql+pymysql"])
def url(request: pytest.FixtureRequest) -> str:
    engine = "mariadb" if request.param.startswith("mysql") else "postgresql"
    return f"{request.param}://{DATABASES[engine](request).partition('://')[2]}"


class TestSqlEngine(StoreContract, ListableStoreContract, PurgeableStoreContract):
    @pytest.fixture
    async def store_factory(self, url: str, clock: ManualClock) -> AsyncIterator[StoreFactory]:
        if url.startswith(("postgresql+psycopg", "mysql+pymysql")):
            blocking = create_engine(url, pool_pre_ping=True)
            yield lambda: sql_store(blocking, clock=clock, timeout=STORE_TIMEOUT)
            with blocking.connect() as connection:  # the store has not closed it
                connection.execute(text("SELECT 1"))
            blocking.dispose()
        else:
            asynchronous = create_async_engine(url)
            yield lambda: sql_store(asynchronous, clock=clock, timeout=STORE_TIMEOUT)
            async with asynchronous.connect() as shared:
                await shared.execute(text("SELECT 1"))
            await asynchronous.dispose()


async def test_the_engine_is_shared_with_its_events(postgresql_url: str, clock: ManualClock) -> None:
    opened: list[object] = []
    engine = create_async_engine(postgresql_url, pool_size=1, max_overflow=0)
    event.listen(engine.sync_engine, "connect", lambda *_: opened.append(1))
    store = sql_store(engine, table="shared_engine", clock=clock, timeout=STORE_TIMEOUT)
    record = make_record(clock())
    assert await store.create(record) is not None
    async with engine.connect() as connection:
        query = text("SELECT count(*) FROM shared_engine WHERE skey = :key")
        assert (await connection.execute(query, {"key": record.key})).scalar_one() == 1
    await store.delete(record.key)
    await store.close()
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE shared_engine"))  # other tests list the tables
    await engine.dispose()
    assert opened == [1]


def make_engine(url: str) -> tuple[Any, Callable[[], Awaitable[None]]]:
    """Return an engine of the application, and a function that closes its connections."""
    is_blocking = url.startswith(("postgresql+psycopg", "mysql+pymysql"))
    create = create_engine if is_blocking else create_async_engine
    engine: Any = create(url, pool_pre_ping=True)

    async def close_connections() -> None:
        await asyncio.to_thread(engine.dispose) if is_blocking else await engine.dispose()

    return engine, close_connections


async def run_query(engine: Any, query: Any, values: dict[str, Any]) -> object:
    """Return the value that a query of the application finds."""
    if isinstance(engine, AsyncEngine):
        async with engine.connect() as connection:
            return (await connection.execute(query, values)).scalar_one()
    with engine.connect() as blocking:
        return blocking.execute(query, values).scalar_one()


READ_ONLY = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


async def test_b2_connections_to_a_former_primary_are_replaced(url: str, clock: ManualClock) -> None:
    """A ping before use succeeds on them. Those opened later can write: the name has moved."""
    engine, close_connections = make_engine(url)
    has_moved = False

    def connect(connection: Any, _: object) -> None:
        if not has_moved:
            connection.cursor().execute(READ_ONLY[url.partition("+")[0]])
            connection.commit()

    store, record = sql_store(engine, clock=clock, timeout=STORE_TIMEOUT), make_record(clock())
    assert await store.create(record) == 1
    await close_connections()
    event.listen(getattr(engine, "sync_engine", engine), "connect", connect)
    await asyncio.gather(*(store.load(record.key) for _ in range(5)))
    has_moved = True
    assert await store.save(replace(record, data=b"{}"), expected=1) == 2
    await store.close()
    await close_connections()


@pytest.mark.parametrize("url", ["mysql+asyncmy", "mysql+pymysql"], indirect=True)
async def test_h2_no_sql_mode_of_the_application_changes_a_statement(url: str, clock: ManualClock) -> None:
    """And no statement of the application is changed."""
    engine, close_connections = make_engine(url)
    event.listen(
        getattr(engine, "sync_engine", engine),
        "connect",
        lambda connection, _: connection.cursor().execute("SET SESSION sql_mode='NO_BACKSLASH_ESCAPES'"),
    )
    store = sql_store(engine, clock=clock, timeout=STORE_TIMEOUT)
    for data in (b"O'Reilly", rb"a\b", rb"\', 1), ('", b'say "cart"', bytes(range(256))):
        record = make_record(clock(), user_id=data[:100].decode("latin-1"), data=data)
        assert await store.create(record) == 1
        assert await store.load(record.key) == replace(record, version=1)
    query, values = text("SELECT CAST(:at AS DATETIME)"), {"at": datetime(2030, 1, 2)}
    assert await run_query(engine, query, values) == values["at"]
    await store.close()
    await close_connections()


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> str:
    return f"postgresql+asyncpg://{DATABASES['postgresql'](request).partition('://')[2]}"


@pytest.mark.parametrize("engine", [create_engine("sqlite://"), "postgresql://h/d", None])
def test_other_engines_are_one_message(engine: Any) -> None:
    with pytest.raises(TypeError, match=r"^sql_store: expected an engine for one of postgresql, "):
        sql_store(engine)


def test_bad_arguments_are_one_sentence() -> None:
    with pytest.raises(TypeError, match=r"^redis_store: expected redis.asyncio.Redis, got .redis://h.;"):
        redis_store("redis://h")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^redis_store: expected redis.asyncio.Redis, got <.*RedisCluster"):
        redis_store(RedisCluster(host="127.0.0.1"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^redis_store: prefix: expected the beginning of every key, got"):
        redis_store(Redis(), prefix="")
    with pytest.raises(ValueError, match=r"^redis_store: timeout: expected seconds above 0"):
        redis_store(Redis(), timeout=0)


@pytest.fixture
def mariadb_url(request: pytest.FixtureRequest) -> str:
    return DATABASES["mariadb"](request)


@pytest.mark.parametrize("make_engine", [create_async_engine, create_engine])
@pytest.mark.parametrize("is_named", [True, False])
async def test_an_engine_may_have_its_database_from_elsewhere(
    make_engine: Callable[..., AsyncEngine | Engine], is_named: bool, mariadb_url: str
) -> None:
    url = make_url(mariadb_url)
    driver = "asyncmy" if make_engine is create_async_engine else "pymysql"
    server = url.set(drivername=f"mysql+{driver}", database="")
    engine = make_engine(server, connect_args={"database": url.database if is_named else None})
    store = sql_store(engine, timeout=STORE_TIMEOUT)
    if is_named:
        assert await store.load(new_id()) is None
    else:
        assert isinstance(store, SqlStore)
        for operation in (store.load(new_id()), store.create_table()):
            with pytest.raises(UnusableURL, match=r"^The MySQL database's URL names no database: "):
                await operation
    await store.close()
    if isinstance(engine, AsyncEngine):
        await engine.dispose()
    else:
        engine.dispose()
