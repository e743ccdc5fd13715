"""Options of the drivers in `DATABASE_URL`: each works or is rejected with one sentence."""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from inspect import signature

import pytest

from cartapp.database.shop import ShopDatabase
from cartapp.session.errors import SessionError, UnusableURL
from cartapp.session.stores.sql.engine import Database
from tests.support.databases import DATABASES
from tests.support.polling import STORE_TIMEOUT
from tests.support.schema import with_schema

PSYCOPG = ("row_factory", "cursor_factory", "context", "autocommit", "prepare_threshold", "client_encoding")


def options_of(module: str) -> list[str]:
    """Return the parameters of a driver's `connect`."""
    return list(signature(import_module(module).connect).parameters)


@pytest.mark.parametrize(
    ("engine", "driver", "options"),
    [
        ("mariadb", "", [*options_of("asyncmy"), "ssl_check_hostname"]),
        ("postgresql", "", [*options_of("asyncpg"), "prepared_statement_name_func"]),
        ("postgresql", "+psycopg", PSYCOPG),
        ("firebird", "", options_of("firebird.driver")),
    ],
)
def test_every_option_works_or_is_one_sentence(
    engine: str, driver: str, options: Sequence[str], request: pytest.FixtureRequest
) -> None:
    url = with_schema(DATABASES[engine](request)).replace("://", f"{driver}://", 1)
    for option in options:
        if option != "host":  # another server, or none
            for value in ("0", "x"):
                outcome = asyncio.run(_ping(f"{url}?{option}={value}"))
                assert outcome is None or isinstance(outcome, SessionError), (option, value, outcome)


@pytest.mark.parametrize("option", ["use_unicode=0", "cursor_cls=x", "query_callback=x"])
def test_option_that_changes_types_is_rejected(option: str, request: pytest.FixtureRequest) -> None:
    if option.partition("=")[0] not in options_of("asyncmy"):
        pytest.skip("requires a newer asyncmy")
    url = with_schema(DATABASES["mariadb"](request))
    outcome = asyncio.run(_ping(f"{url}?{option}"))
    assert isinstance(outcome, UnusableURL)
    assert str(outcome) == (
        "The MariaDB driver cannot take the database's URL: the value of an option is not supported."
    )


async def _ping(url: str) -> Exception | None:
    """Return what a query with all types raises."""
    try:
        database = ShopDatabase(Database(url, timeout=STORE_TIMEOUT))
    except SessionError as error:
        return error
    try:
        await database.ping()
    except Exception as error:  # noqa: BLE001 - the caller compares it
        return error
    finally:
        await database.close()
    return None
