"""Engine-specific behavior of accounts and catalogue on every SQL server."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256

import pytest
from sqlalchemy import Connection, Update, make_url, select, update

from cartapp.accounts import EmailTaken, InvalidCredentials, NewLogin, TooManyAttempts
from cartapp.accounts.tables import USERS
from cartapp.bootstrap import prepare
from cartapp.cart import MAX_LINES, Offer
from cartapp.catalogue import BUILT_IN, Catalogue, NoSuchProduct, Product, Selection, seed
from cartapp.catalogue.tables import PRODUCTS
from cartapp.database.revisions import head_revision
from cartapp.database.shop import DatabaseUnavailable, SchemaOutdated, ShopDatabase, WrongSchema
from cartapp.session.stores.sql.engine import Database
from cartapp.settings import Settings, SettingsError
from tests.conftest import ManualClock
from tests.support.accounts import EMAIL, HERE, NAME, PASSWORD, AccountsEnvironment, create_database
from tests.support.databases import DATABASES, SERVERS
from tests.support.polling import DEADLINE, retry_while_unavailable
from tests.support.schema import with_schema, without_schema
from tests.support.servers.proxy import Proxy

pytestmark = pytest.mark.anyio

SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
OTHER_SPELLING, IN_ASCII = "anna@bücher.example", "anna@xn--bcher-kva.example"
UNICODE = "Жозе 🦊 O'Brien"


async def _upgrade(url: str) -> None:
    async with shop(url) as database:
        await database.upgrade()


@asynccontextmanager
async def shop(url: str) -> AsyncIterator[ShopDatabase]:
    database = create_database(url, seed=seed(BUILT_IN))
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database without the shop's tables."""
    return without_schema(DATABASES[request.param](request))


@pytest.fixture
async def database(url: str) -> AsyncIterator[ShopDatabase]:
    """Return the URL of a database with empty tables."""
    async with shop(url) as database:
        if database.file is None:
            with pytest.raises(SchemaOutdated, match="cart db upgrade"):
                await database.prepare()
            await database.upgrade()
        await database.prepare()
        yield database


async def test_the_schema(database: ShopDatabase) -> None:
    assert await database.get_revision() == head_revision()
    await database.upgrade()
    catalogue = Catalogue(database)
    assert (await catalogue.count(), await catalogue.get_page(2, 20)) == (len(BUILT_IN), list(BUILT_IN[20:]))
    selection = Selection("WIRELESS", frozenset({"Webcam"}), "Devices", "-price")
    found = [product.name for product in await catalogue.get_page(1, 20, selection)]
    assert found == ["Wireless Keyboard", "Webcam", "Wireless Mouse"]
    assert await catalogue.count(selection) == 3
    assert len(await catalogue.list_categories()) == 7
    mine = Product(9_007_199_254_740_991, UNICODE, 100_000_000, "é" * 1000, "é" * 100)
    assert await catalogue.replace([mine]) == len(BUILT_IN)
    assert await catalogue.get(mine.id) == mine
    with pytest.raises(NoSuchProduct):
        await catalogue.get(1)


@pytest.fixture(params=SERVERS)
def server_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database server's database with empty tables."""
    return with_schema(DATABASES[request.param](request))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_operations_before_the_first_response_wait_one_timeout_together(server_url: str) -> None:
    """The schema was not checked yet: no operation waits for the checks of the others."""
    there = make_url(server_url)
    assert there.port is not None
    async with Proxy(there.port) as proxy, asyncio.timeout(DEADLINE):
        proxy.answers_for(0, hang=True)
        url = there.set(port=proxy.port).render_as_string(hide_password=False)
        database = ShopDatabase(Database(url, pool_size=3, timeout=1))
        calls = (database.fetch(select(PRODUCTS.c.id)) for _ in range(120))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailable}
        proxy.heal()
        await retry_while_unavailable(database.ping)
        await database.close()
    gc.collect()


async def test_c12c_offers_for_a_cart(database: ShopDatabase) -> None:
    catalogue = Catalogue(database)
    first, last = BUILT_IN[0], BUILT_IN[-1]
    products = [first.id, 9_007_199_254_740_991, last.id]
    expected = {one.id: Offer(one.name, one.price) for one in (first, last)}
    assert await catalogue.get_offers(products) == {**expected, 9_007_199_254_740_991: None}
    assert await catalogue.get_offers([]) == {}
    most = await catalogue.get_offers(range(1, MAX_LINES + 1))
    assert len(most) == MAX_LINES
    assert {product for product, offer in most.items() if offer} == {one.id for one in BUILT_IN}


@pytest.mark.parametrize("server", SERVERS)
def test_start_is_refused_with_an_outdated_server_schema(request: pytest.FixtureRequest, server: str) -> None:
    url = without_schema(DATABASES[server](request))
    settings = Settings(database_url=url, session_backend="memory", secret_key=SECRET)
    with pytest.raises(SettingsError, match=r"DATABASE_URL: .* Run `cart db upgrade`"):
        prepare(settings)
    asyncio.run(_upgrade(url))
    assert prepare(settings) == (settings, [])


def test_database_in_another_encoding_is_refused(request: pytest.FixtureRequest) -> None:
    server = DATABASES["postgresql"](request)
    _execute(server, "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = make_url(server).set(database="latin").render_as_string(hide_password=False)
    settings = Settings(database_url=url, session_backend="memory", secret_key=SECRET)
    sentence = "The PostgreSQL database has the encoding LATIN1, expected UTF8. Create a new one with UTF8."
    with pytest.raises(SettingsError) as refused:
        prepare(settings)
    assert str(refused.value) == f"DATABASE_URL: {sentence}"
    with pytest.raises(WrongSchema) as not_upgraded:
        asyncio.run(_upgrade(url))
    assert str(not_upgraded.value) == sentence
    _execute(server, "DROP DATABASE latin")


def _execute(url: str, statement: str) -> None:
    """Run a statement outside a transaction."""

    async def run() -> None:
        database = Database(url, timeout=20)
        await database.read(partial(Connection.exec_driver_sql, statement=statement))
        await database.close()

    asyncio.run(run())


async def test_accounts_with_keys_of_earlier_versions(database: ShopDatabase, clock: ManualClock) -> None:
    env = AccountsEnvironment(database, clock)
    await env.operator.add(OTHER_SPELLING, "As typed", PASSWORD)
    await env.operator.add(EMAIL, NAME, PASSWORD)
    former = sha256(OTHER_SPELLING.encode()).hexdigest()
    await database.run(lambda connection: connection.execute(_rekey(OTHER_SPELLING, former)))
    for spelling in (OTHER_SPELLING, IN_ASCII, IN_ASCII.upper()):
        login = await env.accounts.log_in(spelling, PASSWORD, client=HERE, remember=False)
        assert login.user.name == "As typed"
        with pytest.raises(EmailTaken):
            await env.accounts.register(spelling, NAME, f"another {PASSWORD}", client=HERE)
        with pytest.raises(EmailTaken):
            await env.operator.add(spelling, NAME, PASSWORD)
        await env.operator.disable(spelling)
        await env.operator.enable(spelling)


def _rekey(email: str, key: str) -> Update:
    return update(USERS).where(USERS.c.email == email).values(email_key=key)


async def test_users(database: ShopDatabase, clock: ManualClock) -> None:
    env = AccountsEnvironment(database, clock)
    begun = await env.accounts.register("josé@example.com", UNICODE, PASSWORD, client=HERE)
    user = await env.accounts.get_user(begun.user.id)
    assert user == begun.user
    assert user.name == UNICODE
    for email, error in [("JOSÉ@example.com", EmailTaken), ("jose@example.com", None)]:
        if error is None:
            await env.accounts.register(email, "Other", PASSWORD, client=HERE)
            continue
        with pytest.raises(error):
            await env.accounts.register(email, "Other", "another phrase", client=HERE)
    assert await env.is_in(begun)
    changed = await env.change_password(begun, PASSWORD, "another phrase")
    assert [await env.is_in(one) for one in (begun, changed)] == [False, True]
    await env.operator.disable("josé@example.com")
    assert not await env.is_in(changed)
    await env.operator.remove("josé@example.com")
    assert [user.email for user in await env.operator.list_users()] == ["jose@example.com"]


async def test_concurrent_registrations(database: ShopDatabase, clock: ManualClock) -> None:
    env = AccountsEnvironment(database, clock)
    answers = await asyncio.gather(
        *(env.accounts.register(EMAIL, "Alice", f"{PASSWORD} {n}", client=HERE) for n in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["EmailTaken"] * 5 + ["NewLogin"]


async def test_concurrent_attempts(url: str, database: ShopDatabase, clock: ManualClock) -> None:
    async with shop(url) as other:
        envs = [AccountsEnvironment(one, clock) for one in (database, other)] * 8
        answers = await asyncio.gather(
            *(
                env.accounts.log_in(EMAIL, "wrong", client=f"10.0.{number}.1", remember=False)
                for number, env in enumerate(envs)
            ),
            return_exceptions=True,
        )
    kinds = [type(answer) for answer in answers]
    assert (kinds.count(InvalidCredentials), kinds.count(TooManyAttempts)) == (10, 6)


async def test_concurrent_log_ins(database: ShopDatabase, clock: ManualClock) -> None:
    env = AccountsEnvironment(database, clock)
    await env.alice()
    begun = await asyncio.gather(*(env.alice(remember=True) for _ in range(8)))
    assert all([await env.is_in(one) for one in begun])
    await env.accounts.end_other_logins(begun[0].user.id, begun[0].login_id)
    assert await env.accounts.list_login_ids(begun[0].user.id) == {begun[0].login_id}


async def test_concurrent_uses_of_a_token_and_its_theft(
    url: str, database: ShopDatabase, clock: ManualClock
) -> None:
    async with shop(url) as other:
        envs = [AccountsEnvironment(one, clock) for one in (database, other)] * 5
        begun: NewLogin = await envs[0].alice(remember=True)
        assert begun.token is not None
        token = begun.token
        found = await asyncio.gather(*(env.accounts.log_in_with_token(token, client=HERE) for env in envs))
        assert all(answer is not None for answer in found)
        assert sum(answer.token is not None for answer in found if answer) == 1
        clock.advance(60)
        assert await envs[1].accounts.log_in_with_token(token, client=HERE) is None
        assert not await envs[0].is_in(begun)
        clock.advance(40 * 24 * 60 * 60)
        assert await envs[0].accounts.purge(clock()) > 0
