"""Large operations of operators and of the sweeper are not cut off by the request timeout."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from cartapp.accounts.tables import ATTEMPTS, LOGINS, REMEMBER_ME, USERS
from cartapp.database.shop import ShopDatabase
from cartapp.session.stores.sql.engine import Database
from tests.conftest import ManualClock
from tests.support.accounts import AccountsEnvironment, create_database
from tests.support.commands import CartCommand
from tests.support.databases import DATABASES
from tests.support.schema import with_schema

pytestmark = pytest.mark.anyio

MANY = 100_000

EXPIRED = 1201
"""More than one batch of 1,000."""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
def test_loading_a_large_catalogue_may_exceed_the_request_timeout(
    request: pytest.FixtureRequest,
    engine: str,
    folder: Path,
    cart: CartCommand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, number = with_schema(DATABASES[engine](request)), 50_000 if engine == "sqlite" else 5_000
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("CART_SESSION_TIMEOUT", "0.2")
    products = [{"id": one, "name": f"Product {one}", "price": 9.99} for one in range(1, number + 1)]
    Path("products.json").write_text(json.dumps(products))
    assert cart("db", "upgrade").code == 0
    loaded = cart("catalogue", "load", "products.json")
    assert (loaded.code, loaded.err) == (0, "")
    assert loaded.out.startswith(f"Loaded {number} products, ")


@pytest.fixture
def mariadb(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES["mariadb"](request))


async def test_expired_log_ins_and_attempts_are_purged_in_batches(mariadb: str, clock: ManualClock) -> None:
    """More products than a single statement could write within the request timeout."""

    def fill(connection: Connection) -> None:
        numbers = f"FROM seq_1_to_{MANY}"
        for statement in (
            "INSERT INTO cart_user VALUES ('u', 'a@example.com', 'k', 'A', 'h', 1, 0, 0)",
            f"INSERT INTO cart_login SELECT seq, 'u', 1, seq {numbers}",
            f"INSERT INTO cart_remember_me SELECT LPAD(seq, 32, '0'), seq, 'h', NULL, 0 {numbers}",
            f"INSERT INTO cart_attempt SELECT SHA2(seq, 256), 0, 0 {numbers}",
            f"UPDATE cart_login SET expires = {clock.now + 1} WHERE MOD(id, 10) = 0",
            f"UPDATE cart_attempt SET known_until = {clock.now + 1} LIMIT 10000",
        ):
            connection.exec_driver_sql(statement)

    unbounded = Database(mariadb, timeout=60)
    await unbounded.run(fill, unbounded=True)
    hurried = ShopDatabase(Database(mariadb, timeout=1))
    try:
        kept = MANY // 10 + 10_000
        assert await AccountsEnvironment(hurried, clock).accounts.purge(clock.now) == 2 * MANY - kept
        assert await unbounded.read(rows) == [MANY // 10, MANY // 10, 10_000]
    finally:
        await hurried.close()
        await unbounded.close()


def rows(connection: Connection) -> list[int | None]:
    tables = (LOGINS, REMEMBER_ME, ATTEMPTS)
    return [connection.scalar(select(func.count()).select_from(table)) for table in tables]


async def test_purge_on_each_engine(url: str, clock: ManualClock) -> None:
    """More than one batch of each; some records are kept."""
    user = {"email": "a", "email_key": "a", "name": "a", "password_hash": "a", "epoch": 1}

    def fill(connection: Connection) -> None:
        connection.execute(USERS.insert(), {"id": "u", **user, "disabled": False, "created": 0})
        ages = [clock.now + number - EXPIRED + 1 for number in range(EXPIRED + 99)]
        logins = [{"id": n, "user_id": "u", "epoch": 1, "expires": age} for n, age in enumerate(ages)]
        attempts = [{"subject": f"{n:064}", "next_due": 0, "known_until": age} for n, age in enumerate(ages)]
        connection.execute(LOGINS.insert(), logins)
        connection.execute(ATTEMPTS.insert(), attempts)

    database = create_database(url)
    try:
        await database.run(fill, unbounded=True)
        assert await AccountsEnvironment(database, clock).accounts.purge(clock.now) == 2 * EXPIRED
        assert await database.run(rows) == [99, 0, 99]
    finally:
        await database.close()
