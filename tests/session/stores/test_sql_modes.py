"""SQL servers with settings that change the meaning of statements: quotes, escapes, character sets, COMMIT.

The settings apply to the server and thus to every new connection.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text

from cartapp.catalogue import Catalogue, Product
from cartapp.session.record import Record
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from tests.conftest import ManualClock
from tests.support.accounts import HERE, PASSWORD, AccountsEnvironment, open_database
from tests.support.databases import emptied
from tests.support.polling import STORE_TIMEOUT
from tests.support.schema import with_schema, without_schema
from tests.support.servers.mariadb import global_variables
from tests.support.servers.sql import SqlServer
from tests.support.shop import browser, running_app
from tests.support.stores import make_record

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, dict[str, str | int]] = {
    "defaults": {},
    **{
        mode: {"sql_mode": mode}
        for mode in (
            "NO_BACKSLASH_ESCAPES",
            "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT",
            "ANSI",
            "ORACLE",
            "MSSQL",
            "DB2",
            "MAXDB",
            "POSTGRESQL",
            "TRADITIONAL",
            "IGNORE_SPACE,HIGH_NOT_PRECEDENCE",
            "EMPTY_STRING_IS_NULL",
            "SIMULTANEOUS_ASSIGNMENT",
            "",
        )
    },
    "GBK": {"init_connect": "SET NAMES gbk"},
    "Shift JIS": {"init_connect": "SET NAMES sjis", "sql_mode": "NO_BACKSLASH_ESCAPES"},
    "chained": {"completion_type": "CHAIN"},
    "released": {"completion_type": "RELEASE"},
    "no autocommit": {"autocommit": 0},
    "safe updates": {"init_connect": "SET sql_safe_updates=1"},
}
"""Modes of a MariaDB server. Each combined mode implies several others."""

SAME_AS_MSSQL = ("DB2", "MAXDB", "POSTGRESQL")
"""Names of the same combination of modes."""

# The last ones would end a literal early in GBK and Shift JIS, where a backslash can be half a character.
TEXTS = (
    "plain",
    "O'Reilly",
    '"double"',
    "back\\slash\\",
    "\\', 9, 'x",
    "x', 1, 1, 9999999999999, 'victim', 0, 2, '{}') -- ",
    "x\\', 1, 1, 9999999999999, 'victim', 0, 2, '{}') -- ",
    "' || (SELECT 1) || '",
    "100%s %(a)s %%",
    ":name ? ; DROP TABLE cart_session; --",
    "縗' OR 1=1 -- 表",
    "Zoë 🛒",
)
BYTES = (b"", b"'", b"\\'", b"\xbf'", b"\xbf\\", b"\x81' -- ", bytes(range(256)) * 2)


@pytest.fixture(
    params=[
        pytest.param(name, id=name or "no mode", marks=pytest.mark.soak if name in SAME_AS_MSSQL else ())
        for name in SETTINGS
    ]
)
def server(request: pytest.FixtureRequest, mariadb_server: SqlServer) -> Iterator[SqlServer]:
    with global_variables(mariadb_server, **SETTINGS[request.param]):
        yield mariadb_server


@pytest.fixture
def url(server: SqlServer) -> str:
    """URL of an empty database."""
    return emptied(server.url)


def records(at: int) -> list[Record]:
    """Return records with text in every field that has a special meaning in some mode."""
    users: list[str | None] = [None, "", *TEXTS]
    data = [*(b'{"a":"%s"}' % words.encode() for words in TEXTS), *BYTES]
    pairs = zip(users * 2, data, strict=False)
    return [make_record(at, user_id=user, data=content, epoch=-1) for user, content in pairs]


async def listed(store: SqlStore, user: str | None = None) -> set[str]:
    return {found.key async for found in store.scan(user_id=user)}


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Database]:
    database = Database(url, timeout=STORE_TIMEOUT, **options)
    try:
        yield database
    finally:
        await database.close()


async def check_store(database: Database, another: Database, clock: ManualClock) -> None:
    """Run each operation of a store with every record, and verify it on other connections."""
    store, other = SqlStore(database, clock=clock), SqlStore(another, clock=clock)
    stored = records(clock.now)
    for record in stored:
        assert await store.create(record) == 1
        assert await store.create(record) is None
        assert await other.load(record.key) == replace(record, version=1)
        saved = replace(record, data=record.data[::-1], version=2)
        assert await store.save(saved, expected=1) == 2
        assert await other.load(record.key) == saved
    for user in {record.user_id for record in stored} - {None}:
        mine = {record.key for record in stored if record.user_id == user and record.data}
        assert await listed(other, user) == mine
    assert await listed(other) == {record.key for record in stored if record.data}
    later = clock.now + 9_000_000
    for record in stored[:2]:
        assert await store.touch(record.key, expected=2, last_used=clock.now, expires=later)
    clock.now = stored[0].expires
    assert await other.purge(clock.now) == len(stored) - 2
    for record in stored[:2]:
        assert await store.delete(record.key, expected=replace(record, version=2))
        assert await other.load(record.key) is None


async def test_a_store_on_mariadb(url: str, clock: ManualClock) -> None:
    async with connected(url) as database, connected(url) as another:
        await check_store(database, another, clock)


async def check_shop(url: str) -> None:
    """Fill a cart with hostile names in one worker and read it in another."""
    settings: dict[str, Any] = {"session_url": url, "database_url": url, "session_timeout": STORE_TIMEOUT}
    async with (
        running_app(**settings) as app,
        running_app(**settings) as another,
        browser(app) as client,
        browser(another) as other,
    ):
        user = {"name": TEXTS[6], "email": "o'reilly@example.com", "password": PASSWORD}
        assert (await client.post("/register", json=user)).status_code == 201
        other.cookies = client.cookies
        for number, words in enumerate(TEXTS, 1):
            item = {"product_id": number, "name": words, "price": 1.5}
            assert (await client.post("/api/cart/add", json=item)).status_code == 200
        items = (await other.get("/api/cart")).json()["items"]
        assert [item["name"] for item in items] == list(TEXTS)
        sessions = (await other.get("/account/sessions")).json()["sessions"]
        assert [each["current"] for each in sessions] == [True]
        assert user["name"].strip() in unescape((await other.get("/profile")).text)


async def check_accounts(url: str, clock: ManualClock) -> None:
    """Register and look up users, and replace the catalogue, with every name."""
    async with open_database(url) as database:
        env, catalogue = AccountsEnvironment(database, clock), Catalogue(database)
        for number, words in enumerate(TEXTS):
            email = f"o'r\"{number}\\@example.com"
            begun = await env.accounts.register(email, words, PASSWORD, client=f"10.0.{number}.1")
            assert await env.is_in(begun)
            found = await env.accounts.log_in(email, PASSWORD, client=HERE, remember=True)
            assert (found.user.name, found.user.email) == (words, email)
            await env.accounts.change_name(found.user.id, words[::-1])
            renamed = await env.accounts.get_user(found.user.id)
            assert renamed is not None
            assert renamed.name == words[::-1]
            await env.operator.disable(email)
            assert not await env.is_in(begun)
        assert len(await env.operator.list_users()) == len(TEXTS)
        products = [Product(number, words, 150, words * 2) for number, words in enumerate(TEXTS, 1)]
        for _ in range(2):
            await catalogue.replace(products)
            assert await catalogue.get_page(1, len(TEXTS)) == products


@pytest.fixture
def shop_url(server: SqlServer) -> str:
    """Return the URL of a database without sessions; its other tables were created under the settings."""
    return with_schema(without_schema(emptied(server.url)))


async def test_a_shop_on_mariadb(shop_url: str, clock: ManualClock) -> None:
    await check_accounts(shop_url, clock)
    await check_shop(shop_url)


@pytest.mark.parametrize("mode", ["NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ORACLE"])
async def test_connection_with_changed_sql_mode(
    mariadb_server: SqlServer, clock: ManualClock, mode: str
) -> None:
    """A proxy that resets a connection removes its pinned settings without the pool's notice."""

    def change(connection: Connection) -> None:
        connection.execute(text("SET SESSION sql_mode = :mode"), {"mode": mode})

    def found(connection: Connection) -> str:
        return str(connection.scalar(text("SELECT @@sql_mode")))

    url = await asyncio.to_thread(emptied, mariadb_server.url)
    async with connected(url, pool_size=1) as database, connected(url) as another:
        await database.read(change)
        await check_store(database, another, clock)
        assert mode in await database.read(found)


PINNED = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"


@pytest.mark.parametrize(
    "option", ["sql_mode='NO_BACKSLASH_ESCAPES'", "charset=gbk", "init_command=SELECT 1"]
)
async def test_options_in_the_url_do_not_override_pinned_settings(
    mariadb_server: SqlServer, option: str
) -> None:
    async with connected(f"{mariadb_server.url}?{option}") as database:
        query = text("SELECT @@sql_mode, @@character_set_client, @@character_set_results")
        assert await database.fetch(query) == [(PINNED, "utf8mb4", "utf8mb4")]


# -- PostgreSQL ---------------------------------------------------------------------------------------------

OF_ROLE = {
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "client_encoding": "GBK",
    "default_transaction_isolation": "serializable",
    "transform_null_equals": "on",
}


@pytest.fixture
def escaping(postgresql_server: SqlServer) -> Iterator[str]:
    """Yield the URL of a server with non-default values of all such settings."""

    def change(form: str) -> None:
        queries = [text(form.format(name=name, value=value)) for name, value in OF_ROLE.items()]

        def execute(connection: Connection) -> None:
            for query in queries:
                connection.execute(query)

        async def run() -> None:
            async with connected(postgresql_server.url) as database:
                await database.run(execute)

        asyncio.run(run())

    change("ALTER ROLE cart SET {name} = '{value}'")
    try:
        yield with_schema(emptied(postgresql_server.url))
    finally:
        change("ALTER ROLE cart RESET {name}")


async def test_postgresql(escaping: str, clock: ManualClock) -> None:
    async with connected(escaping) as database, connected(escaping) as another:
        ((found,),) = await database.fetch(text("SHOW standard_conforming_strings"))
        assert found == "off"
        await check_store(database, another, clock)
    await check_accounts(escaping, clock)
    await check_shop(escaping)
