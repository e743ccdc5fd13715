"""Work of operators and of the sweeper is larger than a visitor's, and not given up as that would be."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from cartapp.accounts.tables import ATTEMPTS, LOGINS, REMEMBER_ME, USERS
from cartapp.schema import ShopDatabase
from cartapp.session.stores.engine import Database

from .accounts import House, made
from .commands import Cart
from .conftest import ManualClock
from .databases import DATABASES, with_schema

pytestmark = [
    pytest.mark.anyio,
    # What reads Firebird's catalogue in SQLAlchemy's dialect leaves its cursors to the garbage collector.
    pytest.mark.filterwarnings("ignore:.*Cursor.__del__:pytest.PytestUnraisableExceptionWarning"),
]

MANY = 100_000


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
def test_b6c_a_catalogue_that_takes_longer_than_a_visitor_would_wait(
    request: pytest.FixtureRequest, engine: str, folder: Path, cart: Cart, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, number = with_schema(DATABASES[engine](request)), 50_000 if engine == "sqlite" else 20_000
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("CART_SESSION_TIMEOUT", "0.2")
    products = [{"id": one, "name": f"Product {one}", "price": 9.99} for one in range(1, number + 1)]
    Path("products.json").write_text(json.dumps(products))
    assert cart("db", "upgrade").code == 0
    loaded = cart("catalogue", "load", "products.json")
    assert (loaded.code, loaded.err) == (0, "")
    assert loaded.out.startswith(f"{number} products are in the catalogue;")


@pytest.fixture
def mariadb(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES["mariadb"](request))


async def test_b6c_expired_log_ins_and_attempts_go_in_batches(mariadb: str, clock: ManualClock) -> None:
    """Of so many that one statement for all would take longer than the timeout of a visitor's."""

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

    patient = Database(mariadb, timeout=60)
    await patient.run(fill, patient=True)
    hurried = ShopDatabase(Database(mariadb, timeout=1), timeout=1)
    try:
        kept = MANY // 10 + 10_000
        assert await House(hurried, clock).accounts.purge(clock.now) == 2 * MANY - kept
        assert await patient.read(rows) == [MANY // 10, MANY // 10, 10_000]
    finally:
        await hurried.close()
        await patient.close()


def rows(connection: Connection) -> list[int | None]:
    tables = (LOGINS, REMEMBER_ME, ATTEMPTS)
    return [connection.scalar(select(func.count()).select_from(table)) for table in tables]


async def test_b6c_a_purge_on_each_engine(url: str, clock: ManualClock) -> None:
    """More than one batch of each, some of which stay."""
    user = {"email": "a", "email_key": "a", "name": "a", "password_hash": "a", "epoch": 1}

    def fill(connection: Connection) -> None:
        connection.execute(USERS.insert(), {"id": "u", **user, "disabled": False, "created": 0})
        ages = [clock.now + number - 2500 for number in range(3000)]
        logins = [{"id": n, "user_id": "u", "epoch": 1, "expires": age} for n, age in enumerate(ages)]
        attempts = [{"subject": f"{n:064}", "next_due": 0, "known_until": age} for n, age in enumerate(ages)]
        connection.execute(LOGINS.insert(), logins)
        connection.execute(ATTEMPTS.insert(), attempts)

    database = made(url)
    try:
        await database.run(fill, patient=True)
        assert await House(database, clock).accounts.purge(clock.now) == 2 * 2501
        assert await database.run(rows) == [499, 0, 499]
    finally:
        await database.close()
