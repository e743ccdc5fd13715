"""Accounts and catalogue on every SQL engine that there is a server for: what depends on the engine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import pytest
from sqlalchemy import Update, update

from cartapp.accounts import EmailTaken, InvalidCredentials, LoggedIn, TooManyAttempts
from cartapp.accounts.tables import USERS
from cartapp.cart import MAX_LINES, Offer
from cartapp.catalogue import BUILT_IN, Catalogue, NoSuchProduct, Product, seed
from cartapp.revisions import head
from cartapp.schema import SchemaOutdated, ShopDatabase
from cartapp.settings import Settings, SettingsError
from cartapp.start import prepare

from .accounts import EMAIL, HERE, NAME, PASSWORD, House, made
from .conftest import ManualClock
from .databases import DATABASES, SERVERS, without_schema

pytestmark = pytest.mark.anyio

SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
OTHER_SPELLING, IN_ASCII = "anna@bücher.example", "anna@xn--bcher-kva.example"
UNICODE = "Жозе 🦊 O'Brien"


async def _upgrade(url: str) -> None:
    async with shop(url) as database:
        await database.upgrade()


@asynccontextmanager
async def shop(url: str) -> AsyncIterator[ShopDatabase]:
    database = made(url, seed=seed(BUILT_IN))
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """Of a database without tables of ours."""
    return without_schema(DATABASES[request.param](request))


@pytest.fixture
async def database(url: str) -> AsyncIterator[ShopDatabase]:
    """With the schema, and empty tables."""
    async with shop(url) as database:
        if database.file is None:
            with pytest.raises(SchemaOutdated, match="cart db upgrade"):
                await database.prepare()
            await database.upgrade()
        await database.prepare()
        yield database


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


async def test_c12c_the_offers_of_a_cart(database: ShopDatabase) -> None:
    catalogue = Catalogue(database)
    first, last = BUILT_IN[0], BUILT_IN[-1]
    products = [first.id, 9_007_199_254_740_991, last.id]
    expected = {one.id: Offer(one.name, one.price) for one in (first, last)}
    assert await catalogue.offers(products) == {**expected, 9_007_199_254_740_991: None}
    assert await catalogue.offers([]) == {}
    most = await catalogue.offers(range(1, MAX_LINES + 1))
    assert len(most) == MAX_LINES
    assert {product for product, offer in most.items() if offer} == {one.id for one in BUILT_IN}


@pytest.mark.parametrize("server", SERVERS)
def test_the_start_is_refused_while_a_server_is_behind(request: pytest.FixtureRequest, server: str) -> None:
    url = without_schema(DATABASES[server](request))
    settings = Settings(database_url=url, session_backend="memory", secret_key=SECRET)
    with pytest.raises(SettingsError, match=r"DATABASE_URL must name .* run `cart db upgrade`"):
        prepare(settings)
    asyncio.run(_upgrade(url))
    assert prepare(settings) == (settings, [])


async def test_accounts_from_before_the_domain_was_mapped(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    await house.operator.add(OTHER_SPELLING, "As typed", PASSWORD)
    await house.operator.add(EMAIL, NAME, PASSWORD)
    former = sha256(OTHER_SPELLING.encode()).hexdigest()
    await database.run(lambda connection: connection.execute(_rekey(OTHER_SPELLING, former)))
    for spelling in (OTHER_SPELLING, IN_ASCII, IN_ASCII.upper()):
        made = await house.accounts.log_in(spelling, PASSWORD, client=HERE, remember=False)
        assert made.user.name == "As typed"
        with pytest.raises(EmailTaken):
            await house.accounts.register(spelling, NAME, f"another {PASSWORD}", client=HERE)
        with pytest.raises(EmailTaken):
            await house.operator.add(spelling, NAME, PASSWORD)
        await house.operator.disable(spelling)
        await house.operator.enable(spelling)


def _rekey(email: str, key: str) -> Update:
    return update(USERS).where(USERS.c.email == email).values(email_key=key)


async def test_users(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    begun = await house.accounts.register("josé@example.com", UNICODE, PASSWORD, client=HERE)
    user = await house.accounts.user(begun.user.id)
    assert user == begun.user
    assert user.name == UNICODE
    for email, error in [("JOSÉ@example.com", EmailTaken), ("jose@example.com", None)]:
        if error is None:
            await house.accounts.register(email, "Other", PASSWORD, client=HERE)
            continue
        with pytest.raises(error):
            await house.accounts.register(email, "Other", "another phrase", client=HERE)
    assert await house.is_in(begun)
    changed = await house.change_password(begun, PASSWORD, "another phrase")
    assert [await house.is_in(one) for one in (begun, changed)] == [False, True]
    await house.operator.disable("josé@example.com")
    assert not await house.is_in(changed)
    await house.operator.remove("josé@example.com")
    assert [user.email for user in await house.operator.everybody()] == ["jose@example.com"]


async def test_registrations_at_once(database: ShopDatabase, clock: ManualClock) -> None:
    house = House(database, clock)
    answers = await asyncio.gather(
        *(house.accounts.register(EMAIL, "Alice", f"{PASSWORD} {n}", client=HERE) for n in range(6)),
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
    begun = await asyncio.gather(*(house.alice(remember=True) for _ in range(8)))
    assert all([await house.is_in(one) for one in begun])
    await house.accounts.end_other_logins(begun[0].user.id, begun[0].login_id)
    assert await house.accounts.current_logins(begun[0].user.id) == {begun[0].login_id}


async def test_one_token_at_once_and_its_theft(url: str, database: ShopDatabase, clock: ManualClock) -> None:
    async with shop(url) as other:
        houses = [House(one, clock) for one in (database, other)] * 5
        begun: LoggedIn = await houses[0].alice(remember=True)
        assert begun.token is not None
        token = begun.token
        found = await asyncio.gather(*(house.accounts.recognise(token, client=HERE) for house in houses))
        assert all(answer is not None for answer in found)
        assert sum(answer.token is not None for answer in found if answer) == 1
        clock.advance(60)
        assert await houses[1].accounts.recognise(token, client=HERE) is None
        assert not await houses[0].is_in(begun)
        clock.advance(40 * 24 * 60 * 60)
        assert await houses[0].accounts.purge(clock()) > 0
