"""Remembered devices over HTTP: the cookie, and whom it logs in. Its tokens: `test_remember_me_tokens`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import text

from cartapp.accounts import parse_token

from .accounts import EMAIL, NAME, PASSWORD
from .shop import KEYBOARD, browser, shop_app

pytestmark = pytest.mark.anyio

PLAIN = "remember_me"
REMEMBERED = {"email": EMAIL, "password": PASSWORD, "remember_me": True}
COOKIE = "__Host-remember_me"
SET_COOKIE = f"{COOKIE}="


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
        for name, value in {COOKIE: client.cookies[COOKIE], **cookies}.items():
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


async def test_each_scheme_reads_and_clears_its_own_name_only(the_shop: Shop) -> None:
    await the_shop.browser()
    for scheme, name, other in (("https", COOKIE, PLAIN), ("http", PLAIN, COOKIE)):
        async with browser(the_shop.app, f"{scheme}://testserver") as client:
            answer = await client.post("/login", json=REMEMBERED)
            (cookie,) = [one for one in answer.headers.get_list("set-cookie") if "remember_me=" in one]
            assert cookie.startswith(f"{name}=")
            assert ("Secure" in cookie) is (scheme == "https")
            token = cookie.partition("=")[2].partition(";")[0]
        async with browser(the_shop.app, f"{scheme}://testserver") as client:
            planted = await client.get("/dashboard", headers={"Cookie": f"{other}={token}"})
            assert (planted.status_code, planted.headers.get_list("set-cookie")) == (303, [])
            both = {"Cookie": f"{other}={'0' * 32}.{'A' * 43}; {name}={token}"}
            answer = await client.post("/logout", json={}, headers=both)
            (cleared,) = [one for one in answer.headers.get_list("set-cookie") if "remember_me=" in one]
            assert cleared.startswith(f"{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize(
    ("scheme", "secure", "name", "is_secure"),
    [
        ("https", True, COOKIE, True),
        ("https", False, PLAIN, False),  # browsers refuse the prefix without Secure
        ("http", True, PLAIN, True),
        ("http", False, PLAIN, False),
    ],
)
async def test_the_prefix_follows_the_scheme_and_secure_the_setting(
    scheme: str, secure: bool, name: str, is_secure: bool
) -> None:
    app = shop_app(session_secure=secure)
    async with browser(app, f"{scheme}://testserver") as client:
        await client.post("/register", json={"name": NAME, "email": EMAIL, "password": PASSWORD})
        answer = await client.post("/login", json=REMEMBERED)
        (cookie,) = [one for one in answer.headers.get_list("set-cookie") if "remember_me=" in one]
        assert cookie.startswith(f"{name}=")
        assert ("Secure" in cookie) is is_secure


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
        assert again.cookies[COOKIE] != client.cookies[COOKIE]
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
        assert again.cookies[COOKIE] != client.cookies[COOKIE]


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
    assert COOKIE not in victim.cookies
    assert [await is_in(one) for one in (thief, client, other)] == [False, False, True]
    thief.cookies.delete(next(name for name in thief.cookies if name.endswith("cart_session")))
    assert not await is_in(thief)


async def test_log_out_forgets_this_device_only(the_shop: Shop) -> None:
    client, other = await the_shop.browser(), await the_shop.browser()
    copy = the_shop.reopened(client)
    (cookie,) = token_cookies(await client.post("/logout", json={}))
    assert cookie == f"{SET_COOKIE}; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    assert [await is_in(one) for one in (client, copy, other)] == [False, False, True]
    assert await is_in(the_shop.reopened(other))


async def test_log_out_without_a_session_forgets_the_device_too(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopened(client) as again:
        assert (await again.post("/logout", json={})).json() == {"message": "Logged out"}
        assert COOKIE not in again.cookies
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
    assert COOKIE not in client.cookies
    assert (await client.get("/api/cart")).json()["item_count"] == 0  # Alice's cart is not Bob's
    assert not await is_in(copy)


@pytest.mark.parametrize("value", ["", "x", "a" * 5000, f"{'0' * 32}.{'A' * 43}", '"quoted"'])
async def test_a_cookie_that_is_no_token_is_a_guest(the_shop: Shop, value: str) -> None:
    async with browser(the_shop.app) as client:
        answer = await client.get("/dashboard", headers={"Cookie": f"{COOKIE}={value}"})
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
