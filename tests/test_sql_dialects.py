"""URLs and their drivers, and the statements for SQL Server, which no server here can try."""

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

from cartapp import revisions
from cartapp.accounts.tables import METADATA
from cartapp.catalogue import BUILT_IN, Catalogue
from cartapp.catalogue.tables import PRODUCTS
from cartapp.session.errors import InvalidStoreURL, MissingDriver, StoreUnavailable, UnusableURL
from cartapp.session.stores import open_store, sql
from cartapp.session.stores.dialects import dialect_of
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql_expiry import Expired

from .accounts import HERE, PASSWORD, House, opened
from .conftest import ManualClock
from .servers.process import free_port

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
def test_a_url_without_a_driver_takes_the_one_of_its_extra(given: str, taken: str) -> None:
    assert dialect_of(given, 1).url.drivername == taken


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("postgresql://h/d", "asyncpg", "postgresql"),
        ("mysql://h/d", "asyncmy", "mysql"),
        ("mariadb://h/d", "asyncmy", "mariadb"),
        ("mssql://h/d", "mssql_python", "mssql"),
        ("firebird://h//d", "sqlalchemy_firebird.firebird", "firebird"),
    ],
)
def test_a_missing_driver_is_named_with_the_line_that_installs_it(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDriver, match=rf'pip install "cartapp\[{extra}\]"$'):
        open_store(url)


def test_a_missing_driver_that_the_url_names_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(MissingDriver, match=r'^The driver psycopg2 is missing; .*"cartapp\[postgresql\]"$'):
        open_store("postgresql+psycopg2://h/d")


@pytest.mark.parametrize("url", ["postgresql://me:{}@a..b/d", "postgresql://me:{}@h/d?nosuch={}"])
async def test_a_url_that_the_driver_cannot_take_is_no_traceback(url: str) -> None:
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
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as raised:
        Database(url)
    assert f"{SECRET}@" not in str(raised.value)


MSSQL: Any = make_url("mssql+mssqlpython://").get_dialect()()
MSSQL.server_version_info = (14, 0)  # SQL Server 2017; otherwise the first connection would tell
MSSQL._setup_version_attributes()


def compiled(statement: ClauseElement) -> str:
    return " ".join(str(statement.compile(dialect=MSSQL)).split())


def test_the_table_of_sql_server() -> None:
    made = compiled(CreateTable(sql.TABLE))
    assert "skey VARCHAR(22) COLLATE Latin1_General_100_BIN2 NOT NULL" in made
    assert "user_id NVARCHAR(255) NULL" in made
    assert "data VARBINARY(max) NOT NULL" in made
    assert made.count("BIGINT NOT NULL") == 6
    assert "UNIQUE (expires, skey)" in made
    assert "UNIQUE (user_id, skey)" in made


def test_the_statements_of_sql_server() -> None:
    dialect = dialect_of("mssql://h/d", 1)
    due = compiled(Expired(sql.TABLE, dialect, 0).query(500))
    assert due == (
        "SELECT TOP __[POSTCOMPILE_param_1] cart_session.skey, cart_session.expires "
        "FROM cart_session WITH (UPDLOCK, READPAST, ROWLOCK) "
        "WHERE cart_session.expires <= :now ORDER BY cart_session.expires"
    )
    page = compiled(sql._PAGE)
    assert page.startswith("SELECT TOP __[POSTCOMPILE_param_1] cart_session.skey, ")
    assert page.endswith(
        "FROM cart_session WHERE cart_session.skey > :after AND cart_session.size > :size_1 "
        "AND cart_session.expires > :at ORDER BY cart_session.skey"
    )
    assert compiled(sql._DELETE_SEEN) == (
        "DELETE FROM cart_session WHERE cart_session.skey = :seen_key "
        "AND cart_session.version = :seen_version AND cart_session.last_used = :seen_use"
    )


def test_the_migrations_of_sql_server() -> None:
    written = StringIO()
    options = {"as_sql": True, "output_buffer": written}
    context = MigrationContext.configure(dialect=MSSQL, opts=options)
    revision = ScriptDirectory.from_config(revisions.config()).get_revision("head")
    assert revision is not None
    with Operations.context(context):
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
    assert "IDENTITY" not in made  # the numbers are our own


async def test_the_statements_of_the_accounts_for_sql_server(tmp_path: Path, clock: ManualClock) -> None:
    """Each one that a tour through accounts and catalogue makes is written for SQL Server as well."""
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
    """Everything that accounts, their operator and the catalogue do with the database, once."""
    async with opened(url) as database:
        house = House(database, clock)
        begun = await house.alice(remember=True)
        assert begun.token is not None
        assert await house.is_in(begun)
        found = await house.accounts.recognise(begun.token, client=HERE)
        assert found is not None
        clock.advance(60)
        assert await house.accounts.recognise(begun.token, client=HERE) is None
        begun = await house.alice(remember=True)
        await house.accounts.end_other_logins(begun.user.id, begun.login_id)
        await house.accounts.change_name(begun.user.id, "Alice Miller")
        await house.accounts.change_email(begun.user.id, "new@example.com", PASSWORD, client=HERE)
        again = await house.change_password(begun, PASSWORD, "another phrase")
        await house.accounts.log_out({again.login_id}, begun.token, user_id=again.user.id)
        await house.operator.set_password("new@example.com", PASSWORD)
        await house.operator.disable("new@example.com")
        await house.operator.enable("new@example.com")
        await house.operator.remove("new@example.com")
        await house.accounts.purge(clock())
        catalogue = Catalogue(database)
        await catalogue.replace(BUILT_IN)
        assert await catalogue.page(2, 20) == list(BUILT_IN[20:])


async def test_the_driver_of_sql_server_is_there_and_gives_up_in_time() -> None:
    port = free_port()
    store = open_store(f"mssql://sa:{SECRET}@127.0.0.1:{port}/cart", timeout=1)
    with pytest.raises(
        StoreUnavailable, match=f"^The SQL Server database at 127.0.0.1:{port} cannot be used: .*connect"
    ) as raised:
        await store.ping()
    assert SECRET not in str(raised.value)
    await store.close()
