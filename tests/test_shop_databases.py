"""Accounts and catalogue on every SQL engine that there is a server for: what depends on the engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection, inspect, text

from cartapp.accounts import EmailTaken, InvalidCredentials, LoggedIn, TooManyAttempts
from cartapp.accounts.tables import METADATA
from cartapp.catalogue import BUILT_IN, Catalogue, NoSuchProduct, Product, seed
from cartapp.catalogue.tables import PRODUCTS
from cartapp.schema import VERSION_TABLE, SchemaOutdated, ShopDatabase, head
from cartapp.session.stores.engine import Database

from .accounts import EMAIL, HERE, PASSWORD, House
from .conftest import ManualClock
from .databases import DATABASES

pytestmark = pytest.mark.anyio

UNICODE = "Жозе 🦊 O'Brien"


def drop_all(connection: Connection) -> None:
    for table in [PRODUCTS, *reversed(METADATA.sorted_tables)]:
        table.drop(connection, checkfirst=True)
    if inspect(connection).has_table(VERSION_TABLE):
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))


async def _empty(url: str) -> None:
    database = Database(url, timeout=20)
    await database.run(drop_all)
    await database.close()


@asynccontextmanager
async def shop(url: str) -> AsyncIterator[ShopDatabase]:
    made = ShopDatabase(url, pool_size=8, timeout=20, seed=seed(BUILT_IN))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """Of a database without tables of ours."""
    made = DATABASES[request.param](request)
    asyncio.run(_empty(made))
    return made


@pytest.fixture
async def database(url: str) -> AsyncIterator[ShopDatabase]:
    """With the schema, and empty tables."""
    async with shop(url) as made:
        if made.file is None:
            with pytest.raises(SchemaOutdated, match="cart db upgrade"):
                await made.prepare()
            await made.upgrade()
        await made.prepare()
        yield made


async def test_the_schema(database: ShopDatabase) -> None:
    assert await database.revision() == head()
    await database.upgrade()
    catalogue = Catalogue(database)
    assert (await catalogue.count(), await catalogue.page(2, 20)) == (len(BUILT_IN), list(BUILT_IN[20:]))
    mine = Product(9_007_199_254_740_991, UNICODE, 100_000_000, "é" * 1000)
    assert await catalogue.replace([mine]) == len(BUILT_IN)
    assert await catalogue.product(mine.id) == mine
    with pytest.raises(NoSuchProduct):
        await catalogue.product(1)


async def test_users(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    made = await house.accounts.register("josé@example.com", UNICODE, PASSWORD, client=HERE)
    user = await house.accounts.user(made.user.id)
    assert user == made.user
    assert user.name == UNICODE
    for email, error in [("JOSÉ@example.com", EmailTaken), ("jose@example.com", None)]:
        if error is None:
            await house.accounts.register(email, "Other", PASSWORD, client=HERE)
            continue
        with pytest.raises(error):
            await house.accounts.register(email, "Other", PASSWORD, client=HERE)
    assert await house.is_in(made)
    changed = await house.accounts.change_password(made.user.id, PASSWORD, "another phrase", client=HERE)
    assert [await house.is_in(one) for one in (made, changed)] == [False, True]
    await house.operator.disable("josé@example.com")
    assert not await house.is_in(changed)
    await house.operator.remove("josé@example.com")
    assert [user.email for user in await house.operator.everybody()] == ["jose@example.com"]


async def test_registrations_at_once(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    answers = await asyncio.gather(
        *(house.accounts.register(EMAIL, "Alice", PASSWORD, client=HERE) for _ in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["EmailTaken"] * 5 + ["LoggedIn"]


async def test_attempts_at_once(url: str, database: ShopDatabase, clock: ManualClock) -> None:
    async with shop(url) as other:
        houses = [House(one, clock) for one in (database, other)] * 8
        answers = await asyncio.gather(
            *(
                house.accounts.log_in(EMAIL, "wrong", client=f"10.0.{number}.1", remember=False)
                for number, house in enumerate(houses)
            ),
            return_exceptions=True,
        )
    kinds = [type(answer) for answer in answers]
    assert (kinds.count(InvalidCredentials), kinds.count(TooManyAttempts)) == (10, 6)


async def test_log_ins_at_once(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    await house.alice()
    made = await asyncio.gather(*(house.alice(remember=True) for _ in range(8)))
    assert all([await house.is_in(one) for one in made])
    await house.accounts.end_other_logins(made[0].user.id, made[0].login_id)
    assert await house.accounts.current_logins(made[0].user.id) == {made[0].login_id}


async def test_one_token_at_once_and_its_theft(url: str, database: ShopDatabase, clock: ManualClock) -> None:
    async with shop(url) as other:
        houses = [House(one, clock) for one in (database, other)] * 5
        made: LoggedIn = await houses[0].alice(remember=True)
        assert made.token is not None
        token = made.token
        found = await asyncio.gather(*(house.accounts.recognise(token, client=HERE) for house in houses))
        assert all(answer is not None for answer in found)
        assert sum(answer.token is not None for answer in found if answer) == 1
        clock.advance(60)
        assert await houses[1].accounts.recognise(token, client=HERE) is None
        assert not await houses[0].is_in(made)
        clock.advance(40 * 24 * 60 * 60)
        assert await houses[0].accounts.purge(clock()) > 0
