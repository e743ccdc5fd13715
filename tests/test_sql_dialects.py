"""URLs and their drivers, and the statements for SQL Server, which no server here can try."""

import sys

import pytest
from sqlalchemy import make_url
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql.elements import ClauseElement

from cartapp.session.errors import InvalidStoreURL, MissingDriver, StoreUnavailable
from cartapp.session.stores import open_store, sql
from cartapp.session.stores.dialects import dialect_of
from cartapp.session.stores.engine import Database

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


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@h:port/d",
        f"postgresql+{SECRET}://me:{SECRET}@h/d",
        f"oracle://me:{SECRET}@h/d",
        f"me:{SECRET}@h/d",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(InvalidStoreURL) as raised:
        Database(url)
    assert f"{SECRET}@" not in str(raised.value)


def compiled(statement: ClauseElement) -> str:
    dialect = make_url("mssql+mssqlpython://").get_dialect()()
    return " ".join(str(statement.compile(dialect=dialect)).split())


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
    due = compiled(dialect.skip_locked(sql._EXPIRED))
    assert due == (
        "SELECT TOP __[POSTCOMPILE_param_1] cart_session.skey "
        "FROM cart_session WITH (UPDLOCK, READPAST, ROWLOCK) "
        "WHERE cart_session.expires <= :at ORDER BY cart_session.expires"
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


async def test_the_driver_of_sql_server_is_there_and_gives_up_in_time() -> None:
    port = free_port()
    store = open_store(f"mssql://sa:{SECRET}@127.0.0.1:{port}/cart", timeout=1)
    with pytest.raises(
        StoreUnavailable, match=f"^The SQL Server database at 127.0.0.1:{port} cannot be used: .*connect"
    ) as raised:
        await store.ping()
    assert SECRET not in str(raised.value)
    await store.close()
