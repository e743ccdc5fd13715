"""URLs and their drivers, and the statements for SQL Server, without a server."""

import re
import sys
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, make_url, select
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ClauseElement

from cartapp.accounts.tables import METADATA
from cartapp.catalogue import BUILT_IN, Catalogue
from cartapp.catalogue.tables import PRODUCTS
from cartapp.database import upgrades
from cartapp.session.errors import InvalidStoreURL, MissingDriver, StoreUnavailable, UnusableURL
from cartapp.session.stores.queries import ALL
from cartapp.session.stores.registry import open_store
from cartapp.session.stores.sql import queries, store
from cartapp.session.stores.sql.dialects import dialect_from_url
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.expiry import Expired
from cartapp.session.stores.sql.statements import TABLE_NAME, statements_for
from tests.conftest import ManualClock
from tests.support.accounts import HERE, PASSWORD, AccountsEnvironment, open_database
from tests.support.servers.process import free_port

pytestmark = pytest.mark.anyio

SECRET = "unspoken"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("sqlite:////x.db", "sqlite+pysqlite"),
        ("sqlite+aiosqlite:////x.db", "sqlite+pysqlite"),
        ("postgresql://h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg_async"),
        ("postgresql+pg8000://h/d", "postgresql+pg8000"),
        ("mysql://h/d", "mysql+asyncmy"),
        ("mariadb://h/d", "mariadb+asyncmy"),
        ("mssql://h/d", "mssql+mssqlpython"),
        ("firebird://h//d", "firebird+firebird"),
    ],
)
def test_a_url_without_a_driver_uses_the_one_of_its_extra(given: str, taken: str) -> None:
    assert dialect_from_url(given, 1).url.drivername == taken


@pytest.mark.parametrize(
    ("url", "module", "packages"),
    [
        ("postgresql://h/d", "asyncpg", "'sqlalchemy[asyncio]' asyncpg"),
        ("postgresql://h/d", "greenlet", "'sqlalchemy[asyncio]' asyncpg"),
        ("mysql://h/d", "asyncmy", "'sqlalchemy[asyncio]' asyncmy"),
        ("mariadb://h/d", "asyncmy", "'sqlalchemy[asyncio]' asyncmy"),
        ("mssql://h/d", "mssql_python", "sqlalchemy mssql-python"),
        ("firebird://h//d", "sqlalchemy_firebird.firebird", "sqlalchemy sqlalchemy-firebird firebird-driver"),
    ],
)
def test_a_missing_driver_is_named_with_its_install_command(
    url: str, module: str, packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for _ in range(2):
        with pytest.raises(MissingDriver, match=rf"pip install {re.escape(packages)}$"):
            open_store(url)


def test_a_missing_driver_that_the_url_names_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(MissingDriver, match=r"^The driver psycopg2 is missing; .* asyncpg$"):
        open_store("postgresql+psycopg2://h/d")


@pytest.mark.parametrize("url", ["postgresql://me:{}@a..b/d", "postgresql://me:{}@h/d?nosuch={}"])
async def test_a_url_unusable_for_the_driver_is_one_message(url: str) -> None:
    database = Database(url.replace("{}", SECRET))
    with pytest.raises(UnusableURL, match=r"^The PostgreSQL driver cannot take ") as raised:
        await database.fetch(select(1))
    assert SECRET not in str(raised.value)
    await database.close()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@h:port/d",
        f"postgresql+{SECRET}://me:{SECRET}@h/d",
        f"oracle://me:{SECRET}@h/d",
        f"me:{SECRET}@h/d",
        f"postgresql://me:{SECRET}@h:0/d",
        f"postgresql://me:{SECRET}@h:65536/d",
        f"mysql://me:{SECRET}@h/d?client_flag={SECRET}",
        f"sqlite://me:{SECRET}@h/d",
        "sqlite://data/cart.db",
        "sqlite://:5/cart.db",
        "sqlite:///a%00b.db",
        "sqlite:///cart.db?mode=ro",
    ],
)
def test_an_unusable_url_is_rejected_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as raised:
        Database(url)
    assert f"{SECRET}@" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgresql://u@v:secret@h/d", "secret"),
        ("postgresql://u:se/cret@h/d", "se/cret"),
        ("postgresql://u:se%40cret@h:5432/d?application_name=a@b", "se@cret"),
        ("mssql:///?odbc_connect=Server%3Dtcp%3Ah%3BPWD%3Dse%40cret", None),
    ],
)
def test_unambiguous_unescaped_characters_are_accepted(url: str, password: str | None) -> None:
    dialect = dialect_from_url(url, timeout=1)
    assert (dialect.url.host or "h", dialect.url.password) == ("h", password)


MSSQL: Any = make_url("mssql+mssqlpython://").get_dialect()()
MSSQL.server_version_info = (14, 0)  # SQL Server 2017; usually detected on the first connection
MSSQL._setup_version_attributes()


def compiled(statement: ClauseElement) -> str:
    return " ".join(str(statement.compile(dialect=MSSQL)).split())


def test_the_table_of_sql_server() -> None:
    made = compiled(CreateTable(store.TABLE))
    assert "skey VARCHAR(22) COLLATE Latin1_General_100_BIN2 NOT NULL" in made
    assert "user_id NVARCHAR(255) COLLATE Latin1_General_100_BIN2 NULL" in made
    assert "data VARBINARY(max) NOT NULL" in made
    assert made.count("BIGINT NOT NULL") == 6
    assert "UNIQUE (expires, skey)" in made
    assert "UNIQUE (user_id, skey)" in made


def test_the_statements_of_sql_server() -> None:
    dialect = dialect_from_url("mssql://h/d", 1)
    due = compiled(Expired(store.TABLE, dialect, 0).query(500))
    assert due == (
        "SELECT TOP __[POSTCOMPILE_param_1] cart_session.skey, cart_session.expires "
        "FROM cart_session WITH (UPDLOCK, READPAST, ROWLOCK) "
        "WHERE cart_session.expires <= :now ORDER BY cart_session.expires"
    )
    page = compiled(queries.page(store.TABLE, ALL, 500))
    assert page.startswith("SELECT TOP __[POSTCOMPILE_param_1] cart_session.skey, ")
    assert page.endswith(
        "FROM cart_session WHERE cart_session.skey > :after AND cart_session.size > :size_1 "
        "AND cart_session.expires > :at ORDER BY cart_session.skey"
    )
    assert compiled(statements_for(TABLE_NAME).delete_seen) == (
        "DELETE FROM cart_session WHERE cart_session.skey = :seen_key "
        "AND cart_session.version = :seen_version AND cart_session.last_used = :seen_use"
    )


def test_the_migrations_of_sql_server() -> None:
    written = StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect=MSSQL, opts=options)
    newest_first = [*ScriptDirectory.from_config(upgrades.alembic_config()).walk_revisions()]
    with Operations.context(context):
        for revision in reversed(newest_first):
            revision.module.upgrade()
    made = " ".join(written.getvalue().split())
    for table in [*METADATA.tables, PRODUCTS.name]:
        assert f"CREATE TABLE {table} (" in made
    assert "email NVARCHAR(254) NOT NULL" in made
    assert "description NVARCHAR(1000) NOT NULL" in made
    assert "disabled BIT NOT NULL" in made
    assert "CONSTRAINT cart_user_email UNIQUE (email_key)" in made
    assert "FOREIGN KEY(user_id) REFERENCES cart_user (id) ON DELETE CASCADE" in made
    assert "CREATE INDEX cart_login_expires ON cart_login (expires);" in made
    assert "IDENTITY" not in made  # the application assigns the numbers


async def test_the_statements_of_the_accounts_for_sql_server(tmp_path: Path, clock: ManualClock) -> None:
    """Each statement of accounts and catalogue also compiles for SQL Server."""
    made: set[str] = set()

    def note(_: Connection, statement: object, *args: object) -> None:
        if isinstance(statement, ClauseElement):
            made.add(compiled(statement))

    event.listen(Engine, "before_execute", note)
    try:
        await tour(f"sqlite:///{tmp_path}/cart.db", clock)
    finally:
        event.remove(Engine, "before_execute", note)
    for verb, table in product(("SELECT", "INSERT", "UPDATE", "DELETE"), METADATA.tables):
        assert [one for one in made if one.startswith(verb) and f" {table}" in one], (verb, table)
    for statement in made:
        assert not re.search(r"\b(LIMIT|TRUE|FALSE|RETURNING|NULLS)\b", statement, re.IGNORECASE), statement
    (page,) = [one for one in made if "OFFSET" in one]
    assert page.endswith(
        "FROM cart_product ORDER BY cart_product.place, cart_product.id "
        "OFFSET :param_1 ROWS FETCH FIRST :param_2 ROWS ONLY"
    )
    assert [one for one in made if "AND cart_user.disabled = 0 WHERE" in one]


async def tour(url: str, clock: ManualClock) -> None:
    """Run each database operation of accounts, their administration and the catalogue once."""
    async with open_database(url) as database:
        env = AccountsEnvironment(database, clock)
        begun = await env.alice(remember=True)
        assert begun.token is not None
        assert await env.is_in(begun)
        found = await env.accounts.log_in_with_token(begun.token, client=HERE)
        assert found is not None
        clock.advance(60)
        assert await env.accounts.log_in_with_token(begun.token, client=HERE) is None
        begun = await env.alice(remember=True)
        await env.accounts.end_other_logins(begun.user.id, begun.login_id)
        await env.accounts.change_name(begun.user.id, "Alice Miller")
        await env.accounts.change_email(begun.user.id, "new@example.com", PASSWORD, client=HERE)
        again = await env.change_password(begun, PASSWORD, "another phrase")
        await env.accounts.log_out({again.login_id}, begun.token, user_id=again.user.id)
        await env.operator.set_password("new@example.com", PASSWORD)
        await env.operator.disable("new@example.com")
        await env.operator.enable("new@example.com")
        await env.operator.remove("new@example.com")
        await env.accounts.purge(clock())
        catalogue = Catalogue(database)
        await catalogue.replace(BUILT_IN)
        assert await catalogue.get_page(2, 20) == list(BUILT_IN[20:])


async def test_the_driver_of_sql_server_is_installed_and_times_out() -> None:
    port = free_port()
    store = open_store(f"mssql://sa:{SECRET}@127.0.0.1:{port}/cart", timeout=1)
    with pytest.raises(
        StoreUnavailable,
        match=f"^The SQL Server database at 127.0.0.1:{port} (cannot be used: .*connect|did not respond)",
    ) as raised:
        await store.ping()
    assert SECRET not in str(raised.value)
    await store.close()
