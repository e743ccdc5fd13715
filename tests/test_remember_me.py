"""Remembered devices: tokens in the database with a clock that is moved, and cookies over HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select, text

from cartapp.accounts import InvalidCredentials, LoggedIn, Recognised, Token, parse_token
from cartapp.accounts.logins import FORMER_FOR, TOKEN_LIFE, new_token
from cartapp.accounts.tables import METADATA

from .accounts import EMAIL, HERE, NAME, PASSWORD, House, opened
from .conftest import ManualClock
from .databases import DATABASES, with_schema
from .shop import KEYBOARD, browser, shop_app

pytestmark = pytest.mark.anyio

REMEMBERED = {"email": EMAIL, "password": PASSWORD, "remember_me": True}
SET_COOKIE = "remember_me="


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
async def house(url: str, clock: ManualClock) -> AsyncIterator[House]:
    async with opened(url) as database:
        yield House(database, clock)


async def remembered(house: House) -> tuple[LoggedIn, Token]:
    made = await house.alice(remember=True)
    assert made.token is not None
    return made, made.token


async def use(house: House, token: Token) -> Recognised:
    found = await house.accounts.recognise(token, client=HERE)
    assert found is not None
    return found


async def is_refused(house: House, token: Token) -> bool:
    return await house.accounts.recognise(token, client=HERE) is None


# -- tokens -------------------------------------------------------------------------------------------------


def test_tokens_are_long_and_random() -> None:
    tokens = [new_token() for _ in range(1000)]
    assert len({token.selector for token in tokens}) == len({token.validator for token in tokens}) == 1000
    assert all(parse_token(str(token)) == token for token in tokens)
    assert {(len(bytes.fromhex(token.selector)), len(token.validator)) for token in tokens} == {(16, 43)}
    assert tokens[0].validator not in repr(tokens[0])


@pytest.mark.parametrize(
    "text", [None, "", ".", "a" * 76, f"{'a' * 32}.", f"{'A' * 32}.{'a' * 43}", "x" * 4000]
)
def test_what_is_no_token(text: str | None) -> None:
    assert parse_token(text) is None


async def test_the_database_holds_nothing_that_lets_in(house: House) -> None:
    _, token = await remembered(house)
    after = (await use(house, token)).token
    assert after is not None
    rows = [await house.database.fetch(select(table)) for table in METADATA.sorted_tables]
    held = repr(rows)
    assert token.selector in held
    for secret in (token.validator, after.validator, PASSWORD):
        assert secret not in held


async def test_each_use_gives_a_new_validator_of_the_same_device(house: House, clock: ManualClock) -> None:
    made, token = await remembered(house)
    for _ in range(5):
        clock.advance(3600)
        found = await use(house, token)
        assert found.login_id == made.login_id
        assert found.token is not None
        assert found.token.selector == token.selector
        assert found.token.validator != token.validator
        token = found.token


async def test_of_ten_uses_at_once_one_rotates_and_all_are_recognised(url: str, clock: ManualClock) -> None:
    async with opened(url) as one, opened(url) as two:
        houses = [House(database, clock) for database in (one, two)] * 5
        _, token = await remembered(houses[0])
        found = await asyncio.gather(*(use(house, token) for house in houses))
        assert sum(answer.token is not None for answer in found) == 1
        (after,) = [answer.token for answer in found if answer.token]
        assert (await use(houses[1], after)).token is not None


async def test_a_former_validator_is_honoured_for_a_minute_and_then_it_is_theft(
    house: House, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cartapp.security")
    made, token = await remembered(house)
    other, other_token = await remembered(house)
    after = (await use(house, token)).token
    assert after is not None
    clock.advance((FORMER_FOR - 1) / 1000)
    assert (await use(house, token)).token is None
    clock.advance(0.001)
    assert await house.is_in(made)
    assert await is_refused(house, token)
    assert "event=remember_me_theft" in caplog.text
    assert await is_refused(house, after)  # whoever has it, the row is dead
    assert not await house.is_in(made)
    assert await house.is_in(other)  # another device has nothing to do with it
    assert await use(house, other_token)


async def test_a_validator_that_never_was_is_theft_as_well(house: House) -> None:
    made, token = await remembered(house)
    assert await is_refused(house, replace(token, validator=new_token().validator))
    assert await is_refused(house, token)
    assert not await house.is_in(made)


async def test_an_unknown_selector_ends_nothing(house: House) -> None:
    made, token = await remembered(house)
    assert await is_refused(house, new_token())
    assert await is_refused(house, replace(token, selector=new_token().selector))
    assert await house.is_in(made)


async def test_revoked_beats_the_minute(house: House) -> None:
    made, token = await remembered(house)
    after = (await use(house, token)).token
    await house.accounts.log_out(made.login_id, None, user_id=made.user.id)
    assert after is not None
    assert [await is_refused(house, one) for one in (token, after)] == [True, True]


async def test_thirty_days_after_the_last_use_it_is_forgotten(house: House, clock: ManualClock) -> None:
    _, token = await remembered(house)
    clock.advance(TOKEN_LIFE / 1000 - 1)
    after = (await use(house, token)).token
    assert after is not None
    clock.advance(TOKEN_LIFE / 1000 - 1)
    last = (await use(house, after)).token
    assert last is not None
    clock.advance(TOKEN_LIFE / 1000)
    assert await is_refused(house, last)


async def test_log_out_by_the_token_alone_takes_the_right_validator(house: House) -> None:
    made, token = await remembered(house)
    wrong = replace(token, validator=new_token().validator)
    await house.accounts.log_out(None, wrong, user_id=None)
    assert await house.is_in(made)
    await use(house, token)
    await house.accounts.log_out(None, token, user_id=None)  # the former one
    assert not await house.is_in(made)


async def test_a_new_password_forgets_every_device(house: House) -> None:
    _, one = await remembered(house)
    made, two = await remembered(house)
    await house.accounts.change_password(made.user.id, PASSWORD, "another phrase of mine", client=HERE)
    assert [await is_refused(house, token) for token in (one, two)] == [True, True]
    assert not await house.database.fetch(text("SELECT 1 FROM cart_remember_me"))


async def test_the_old_password_cannot_begin_anything_while_it_is_being_changed(house: House) -> None:
    made = await house.alice()
    attempts = [house.accounts.log_in(EMAIL, PASSWORD, client=HERE, remember=True) for _ in range(6)]
    change = house.accounts.change_password(made.user.id, PASSWORD, "another phrase of mine", client=HERE)
    *begun, changed = await asyncio.gather(*attempts, change, return_exceptions=True)
    assert isinstance(changed, LoggedIn)
    for one in begun:
        assert isinstance(one, (InvalidCredentials, LoggedIn))
        assert isinstance(one, InvalidCredentials) or not await house.is_in(one)


# -- cookies ------------------------------------------------------------------------------------------------


class Shop:
    """An application, and browsers for it."""

    def __init__(self, **settings: Any) -> None:
        self.app = shop_app(**settings)

    async def browser(self, *, log_in: bool = True) -> httpx.AsyncClient:
        """A browser, in which Alice has logged in and been remembered."""
        client = browser(self.app)
        if log_in:
            await client.post("/register", json={"name": NAME, "email": EMAIL, "password": PASSWORD})
            assert (await client.post("/login", json=REMEMBERED)).status_code == 200
        return client

    def reopened(self, client: httpx.AsyncClient, **cookies: str) -> httpx.AsyncClient:
        """The same browser after its session was forgotten."""
        again = browser(self.app)
        for name, value in {"remember_me": client.cookies["remember_me"], **cookies}.items():
            again.cookies.set(name, value, domain="testserver.local")  # what the jar makes of "testserver"
        return again


@pytest.fixture
async def the_shop() -> AsyncIterator[Shop]:
    made = Shop()
    async with made.app.router.lifespan_context(made.app):
        yield made


def token_cookies(answer: httpx.Response) -> list[str]:
    return [line for line in answer.headers.get_list("set-cookie") if line.startswith(SET_COOKIE)]


async def is_in(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/dashboard")
    assert (answer.status_code, answer.headers.get("location")) in ((200, None), (303, "/login"))
    return answer.status_code == 200


async def test_the_cookie(the_shop: Shop) -> None:
    client = await the_shop.browser()
    (cookie,) = token_cookies(await client.post("/login", json=REMEMBERED))
    value, *attributes = cookie.split("; ")
    assert parse_token(value.removeprefix(SET_COOKIE))
    assert set(attributes) == {"Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Lax", "Secure"}
    async with browser(the_shop.app, "http://testserver") as plain:
        (cookie,) = token_cookies(await plain.post("/login", json=REMEMBERED))
    assert "Secure" not in cookie


@pytest.mark.parametrize(
    "ticked", [{}, {"remember_me": False}, {"remember_me": "false"}, {"remember_me": ""}]
)
async def test_without_the_tick_nothing_is_remembered(the_shop: Shop, ticked: dict[str, Any]) -> None:
    client = await the_shop.browser()
    async with browser(the_shop.app) as other:
        answer = await other.post("/login", json={"email": EMAIL, "password": PASSWORD, **ticked})
        assert not token_cookies(answer)
    await client.aclose()


async def test_it_logs_in_when_the_session_is_gone_and_brings_the_next_token(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopened(client) as again:
        answer = await again.get("/")
        assert NAME in answer.text
        (cookie,) = token_cookies(answer)
        assert "Max-Age=2592000" in cookie
        assert again.cookies["remember_me"] != client.cookies["remember_me"]
        assert await is_in(again)
        assert not token_cookies(await again.get("/dashboard"))  # a session needs no token


@pytest.mark.parametrize(
    "path", ["/", "/cart", "/profile", "/preferences", "/dashboard", "/account/sessions"]
)
async def test_pages_that_show_the_user_ask_the_cookie(the_shop: Shop, path: str) -> None:
    async with the_shop.reopened(await the_shop.browser()) as again:
        answer = await again.get(path)
        assert answer.status_code == 200
        assert token_cookies(answer)


@pytest.mark.parametrize("path", ["/api/cart", "/visit-counter", "/healthz", "/static/style.css"])
async def test_what_needs_no_user_leaves_it_alone(the_shop: Shop, path: str) -> None:
    async with the_shop.reopened(await the_shop.browser()) as again:
        assert not token_cookies(await again.get(path))
        assert await is_in(again)


async def test_head_changes_nothing(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopened(client) as again:
        answer = await again.head("/dashboard")
        assert not answer.headers.get_list("set-cookie")
        assert (await again.get("/dashboard")).status_code == 200
        assert again.cookies["remember_me"] != client.cookies["remember_me"]


async def test_the_session_that_it_begins_is_not_fresh(the_shop: Shop) -> None:
    sessions = the_shop.app.state.sessions
    client = await the_shop.browser()
    async with the_shop.reopened(client) as again:
        assert await is_in(again)
        fresh = {}
        for browser_ in (client, again):
            ((here, *_),) = (await browser_.get("/account/sessions")).json().values()
            fresh[here["handle"]] = (await sessions.get(here["handle"])).data["_login"]["fresh"]
        assert list(fresh.values()) == [True, False]
        change = {"current_password": "wrong", "new_password": "another phrase of mine"}
        assert (await again.post("/account/password", json=change)).status_code == 403


async def test_ten_requests_at_once_after_a_restart_of_the_browser(the_shop: Shop) -> None:
    again = the_shop.reopened(await the_shop.browser())
    answers = await asyncio.gather(*(browser_get(the_shop, again, "/dashboard") for _ in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert sum(bool(token_cookies(answer)) for answer in answers) == 1


async def test_ten_requests_at_once_with_a_session_of_a_guest(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with browser(the_shop.app) as guest:
        await guest.post("/api/cart/add", json=KEYBOARD)
        session = dict(guest.cookies)
    again = the_shop.reopened(client, **session)
    answers = await asyncio.gather(*(browser_get(the_shop, again, "/dashboard") for _ in range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    new = [
        line for answer in answers for line in answer.headers.get_list("set-cookie") if "cart_session" in line
    ]
    assert len(new) == 1  # the guest's session went on under one new id, with its cart
    name, _, value = new[0].partition(";")[0].partition("=")
    async with browser(the_shop.app, cookies={name: value}) as one:
        assert (await one.get("/api/cart")).json()["item_count"] == 1
        assert await is_in(one)


async def browser_get(the_shop: Shop, like: httpx.AsyncClient, path: str) -> httpx.Response:
    """A request of its own with the cookies of a browser, which other answers do not change meanwhile."""
    async with browser(the_shop.app, cookies=dict(like.cookies)) as one:
        return await one.get(path)


async def test_theft_ends_the_sessions_of_that_device_and_no_others(the_shop: Shop) -> None:
    client, other = await the_shop.browser(), await the_shop.browser()
    thief, victim = the_shop.reopened(client), the_shop.reopened(client)
    assert await is_in(thief)  # uses the token first
    await the_shop.app.state.database.run(
        lambda connection: connection.execute(text("UPDATE cart_remember_me SET rotated = rotated - 60000"))
    )
    assert not await is_in(victim)
    assert "remember_me" not in victim.cookies
    assert [await is_in(one) for one in (thief, client, other)] == [False, False, True]
    thief.cookies.delete(next(name for name in thief.cookies if name.endswith("cart_session")))
    assert not await is_in(thief)


async def test_log_out_forgets_this_device_only(the_shop: Shop) -> None:
    client, other = await the_shop.browser(), await the_shop.browser()
    copy = the_shop.reopened(client)
    (cookie,) = token_cookies(await client.post("/logout", json={}))
    assert cookie == "remember_me=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    assert [await is_in(one) for one in (client, copy, other)] == [False, False, True]
    assert await is_in(the_shop.reopened(other))


async def test_log_out_without_a_session_forgets_the_device_too(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopened(client) as again:
        assert (await again.post("/logout", json={})).json() == {"message": "Logged out"}
        assert "remember_me" not in again.cookies
    assert not await is_in(the_shop.reopened(client))


async def test_clearing_the_session_forgets_the_device(the_shop: Shop) -> None:
    client = await the_shop.browser()
    copy = the_shop.reopened(client)
    assert (await client.post("/api/session/clear")).status_code == 200
    assert [await is_in(one) for one in (client, copy)] == [False, False]


async def test_another_log_in_takes_the_device_over(the_shop: Shop) -> None:
    client = await the_shop.browser()
    copy = the_shop.reopened(client)
    bob = {"name": "Bob", "email": "bob@example.com", "password": "a phrase of another"}
    await client.post("/api/cart/add", json=KEYBOARD)
    assert (await client.post("/register", json=bob)).status_code == 201
    assert "remember_me" not in client.cookies
    assert (await client.get("/api/cart")).json()["item_count"] == 0  # Alice's cart is not Bob's
    assert not await is_in(copy)


@pytest.mark.parametrize("value", ["", "x", "a" * 5000, f"{'0' * 32}.{'A' * 43}", '"quoted"'])
async def test_a_cookie_that_is_no_token_is_a_guest(the_shop: Shop, value: str) -> None:
    async with browser(the_shop.app) as client:
        answer = await client.get("/dashboard", headers={"Cookie": f"remember_me={value}"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")


async def test_nobody_is_let_in_while_the_database_is_out_of_reach(the_shop: Shop, tmp_path: Path) -> None:
    client = await the_shop.browser()
    again = the_shop.reopened(client)
    await the_shop.app.state.database.close()
    path: Path = the_shop.app.state.database.file
    path.rename(tmp_path / "away.db")
    path.mkdir()
    for one in (client, again):
        answer = await one.get("/dashboard")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert not answer.headers.get_list("set-cookie")
    path.rmdir()
    (tmp_path / "away.db").rename(path)
    assert [await is_in(one) for one in (client, again)] == [True, True]
