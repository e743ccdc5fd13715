"""The remember-me cookie over HTTP; for its tokens see `test_remember_me_tokens`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import Depends
from sqlalchemy import text

from cartapp.accounts import parse_token
from cartapp.web.deps import get_current_user
from tests.support.accounts import EMAIL, NAME, PASSWORD
from tests.support.shop import KEYBOARD, browser, shop_app

pytestmark = pytest.mark.anyio

PLAIN = "remember_me"
REMEMBERED = {"email": EMAIL, "password": PASSWORD, "remember_me": True}
COOKIE = "__Host-remember_me"
SET_COOKIE = f"{COOKIE}="


class Shop:
    """An application with browsers."""

    def __init__(self, **settings: Any) -> None:
        self.app = shop_app(**settings)

    async def browser(self, *, log_in: bool = True) -> httpx.AsyncClient:
        """Return a browser, by default logged in as Alice with a remember-me token."""
        client = browser(self.app)
        if log_in:
            await client.post("/register", json={"name": NAME, "email": EMAIL, "password": PASSWORD})
            assert (await client.post("/login", json=REMEMBERED)).status_code == 200
        return client

    def reopen(self, client: httpx.AsyncClient, **cookies: str) -> httpx.AsyncClient:
        """Return the same browser without its session cookie."""
        again = browser(self.app)
        for name, value in {COOKIE: client.cookies[COOKIE], **cookies}.items():
            again.cookies.set(name, value, domain="testserver.local")  # the jar's name for "testserver"
        return again


@pytest.fixture
async def the_shop() -> AsyncIterator[Shop]:
    shop = Shop()
    async with shop.app.router.lifespan_context(shop.app):
        yield shop


def token_cookies(response: httpx.Response) -> list[str]:
    return [line for line in response.headers.get_list("set-cookie") if line.startswith(SET_COOKIE)]


async def is_in(client: httpx.AsyncClient) -> bool:
    response = await client.get("/dashboard")
    assert (response.status_code, response.headers.get("location")) in ((200, None), (303, "/login"))
    return response.status_code == 200


async def test_cookie_attributes(the_shop: Shop) -> None:
    client = await the_shop.browser()
    (cookie,) = token_cookies(await client.post("/login", json=REMEMBERED))
    value, *attributes = cookie.split("; ")
    assert parse_token(value.removeprefix(SET_COOKIE))
    assert set(attributes) == {"Path=/", "Max-Age=2592000", "HttpOnly", "SameSite=Lax", "Secure"}


async def test_each_scheme_uses_only_its_own_cookie_name(the_shop: Shop) -> None:
    await the_shop.browser()
    for scheme, name, other in (("https", COOKIE, PLAIN), ("http", PLAIN, COOKIE)):
        async with browser(the_shop.app, f"{scheme}://testserver") as client:
            response = await client.post("/login", json=REMEMBERED)
            (cookie,) = [one for one in response.headers.get_list("set-cookie") if "remember_me=" in one]
            assert cookie.startswith(f"{name}=")
            assert ("Secure" in cookie) is (scheme == "https")
            token = cookie.partition("=")[2].partition(";")[0]
        async with browser(the_shop.app, f"{scheme}://testserver") as client:
            planted = await client.get("/dashboard", headers={"Cookie": f"{other}={token}"})
            assert (planted.status_code, planted.headers.get_list("set-cookie")) == (303, [])
            both = {"Cookie": f"{other}={'0' * 32}.{'A' * 43}; {name}={token}"}
            response = await client.post("/logout", json={}, headers=both)
            (cleared,) = [one for one in response.headers.get_list("set-cookie") if "remember_me=" in one]
            assert cleared.startswith(f"{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")


@pytest.mark.parametrize(
    ("scheme", "secure", "name", "is_secure"),
    [
        ("https", True, COOKIE, True),
        ("https", False, PLAIN, False),  # browsers reject the prefix without Secure
        ("http", True, PLAIN, True),
        ("http", False, PLAIN, False),
    ],
)
async def test_cookie_prefix_depends_on_scheme_and_secure_setting(
    scheme: str, secure: bool, name: str, is_secure: bool
) -> None:
    app = shop_app(session_secure=secure)
    async with browser(app, f"{scheme}://testserver") as client:
        await client.post("/register", json={"name": NAME, "email": EMAIL, "password": PASSWORD})
        response = await client.post("/login", json=REMEMBERED)
        (cookie,) = [one for one in response.headers.get_list("set-cookie") if "remember_me=" in one]
        assert cookie.startswith(f"{name}=")
        assert ("Secure" in cookie) is is_secure


@pytest.mark.parametrize(
    "ticked", [{}, {"remember_me": False}, {"remember_me": "false"}, {"remember_me": ""}]
)
async def test_unchecked_box_sets_no_token(the_shop: Shop, ticked: dict[str, Any]) -> None:
    client = await the_shop.browser()
    async with browser(the_shop.app) as other:
        response = await other.post("/login", json={"email": EMAIL, "password": PASSWORD, **ticked})
        assert not token_cookies(response)
    await client.aclose()


async def test_token_logs_in_without_session_and_is_replaced(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopen(client) as again:
        response = await again.get("/")
        assert NAME in response.text
        (cookie,) = token_cookies(response)
        assert "Max-Age=2592000" in cookie
        assert again.cookies[COOKIE] != client.cookies[COOKIE]
        assert await is_in(again)
        assert not token_cookies(await again.get("/dashboard"))  # the session suffices


@pytest.mark.parametrize(
    "path", ["/", "/cart", "/profile", "/preferences", "/dashboard", "/account/sessions"]
)
async def test_pages_that_show_the_user_use_the_token(the_shop: Shop, path: str) -> None:
    async with the_shop.reopen(await the_shop.browser()) as again:
        response = await again.get(path)
        assert response.status_code == 200
        assert token_cookies(response)


@pytest.mark.parametrize("path", ["/api/cart", "/visit-counter", "/healthz", "/static/style.css"])
async def test_routes_without_user_do_not_use_the_token(the_shop: Shop, path: str) -> None:
    async with the_shop.reopen(await the_shop.browser()) as again:
        assert not token_cookies(await again.get(path))
        assert await is_in(again)


async def test_head_does_not_replace_the_token(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopen(client) as again:
        response = await again.head("/dashboard")
        assert not response.headers.get_list("set-cookie")
        assert (await again.get("/dashboard")).status_code == 200
        assert again.cookies[COOKIE] != client.cookies[COOKIE]


async def test_remembered_session_is_not_fresh(the_shop: Shop) -> None:
    sessions = the_shop.app.state.sessions
    client = await the_shop.browser()
    async with the_shop.reopen(client) as again:
        assert await is_in(again)
        fresh = {}
        for browser_ in (client, again):
            ((here, *_),) = (await browser_.get("/account/sessions")).json().values()
            fresh[here["handle"]] = (await sessions.get(here["handle"])).data["_login"]["fresh"]
        assert list(fresh.values()) == [True, False]
        change = {"current_password": "wrong", "new_password": "another phrase of mine"}
        assert (await again.post("/account/password", json=change)).status_code == 403


async def test_ten_concurrent_requests_after_browser_restart(the_shop: Shop) -> None:
    again = the_shop.reopen(await the_shop.browser())
    responses = await asyncio.gather(*(browser_get(the_shop, again, "/dashboard") for _ in range(10)))
    assert [response.status_code for response in responses] == [200] * 10
    assert sum(bool(token_cookies(response)) for response in responses) == 1


async def test_ten_concurrent_requests_with_guest_session(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with browser(the_shop.app) as guest:
        await guest.post("/api/cart/add", json=KEYBOARD)
        session = dict(guest.cookies)
    again = the_shop.reopen(client, **session)
    responses = await asyncio.gather(*(browser_get(the_shop, again, "/dashboard") for _ in range(10)))
    assert [response.status_code for response in responses] == [200] * 10
    new = [
        line
        for response in responses
        for line in response.headers.get_list("set-cookie")
        if "cart_session" in line
    ]
    assert len(new) == 1  # one rotation of the guest's session, which keeps its cart
    name, _, value = new[0].partition(";")[0].partition("=")
    async with browser(the_shop.app, cookies={name: value}) as one:
        assert (await one.get("/api/cart")).json()["item_count"] == 1
        assert await is_in(one)


async def browser_get(the_shop: Shop, like: httpx.AsyncClient, path: str) -> httpx.Response:
    """Send a request with a copy of a browser's cookies, independent of concurrent responses."""
    async with browser(the_shop.app, cookies=dict(like.cookies)) as one:
        return await one.get(path)


async def test_token_reuse_ends_only_sessions_of_that_device(the_shop: Shop) -> None:
    client, other = await the_shop.browser(), await the_shop.browser()
    thief, victim = the_shop.reopen(client), the_shop.reopen(client)
    assert await is_in(thief)  # uses the token first
    await the_shop.app.state.database.run(
        lambda connection: connection.execute(text("UPDATE cart_remember_me SET rotated = rotated - 60000"))
    )
    assert not await is_in(victim)
    assert COOKIE not in victim.cookies
    assert [await is_in(one) for one in (thief, client, other)] == [False, False, True]
    thief.cookies.delete(next(name for name in thief.cookies if name.endswith("cart_session")))
    assert not await is_in(thief)


async def test_logout_revokes_only_this_devices_token(the_shop: Shop) -> None:
    client, other = await the_shop.browser(), await the_shop.browser()
    copy = the_shop.reopen(client)
    (cookie,) = token_cookies(await client.post("/logout", json={}))
    assert cookie == f"{SET_COOKIE}; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
    assert [await is_in(one) for one in (client, copy, other)] == [False, False, True]
    assert await is_in(the_shop.reopen(other))


async def test_logout_without_session_revokes_the_token(the_shop: Shop) -> None:
    client = await the_shop.browser()
    async with the_shop.reopen(client) as again:
        assert (await again.post("/logout", json={})).json() == {"message": "Logged out"}
        assert COOKIE not in again.cookies
    assert not await is_in(the_shop.reopen(client))


async def test_clearing_the_session_revokes_the_token(the_shop: Shop) -> None:
    client = await the_shop.browser()
    copy = the_shop.reopen(client)
    assert (await client.post("/api/session/clear")).status_code == 200
    assert [await is_in(one) for one in (client, copy)] == [False, False]


async def test_login_of_another_user_revokes_the_token(the_shop: Shop) -> None:
    client = await the_shop.browser()
    copy = the_shop.reopen(client)
    bob = {"name": "Bob", "email": "bob@example.com", "password": "a phrase of another"}
    await client.post("/api/cart/add", json=KEYBOARD)
    assert (await client.post("/register", json=bob)).status_code == 201
    assert COOKIE not in client.cookies
    assert (await client.get("/api/cart")).json()["item_count"] == 0  # Alice's cart is not Bob's
    assert not await is_in(copy)


@pytest.mark.parametrize("value", ["", "x", "a" * 5000, f"{'0' * 32}.{'A' * 43}", '"quoted"'])
async def test_invalid_token_is_a_guest(the_shop: Shop, value: str) -> None:
    async with browser(the_shop.app) as client:
        response = await client.get("/dashboard", headers={"Cookie": f"{COOKIE}={value}"})
        assert (response.status_code, response.headers["location"]) == (303, "/login")


async def test_database_outage_returns_503_and_keeps_cookies(the_shop: Shop, tmp_path: Path) -> None:
    client = await the_shop.browser()
    again = the_shop.reopen(client)
    await the_shop.app.state.database.close()
    path: Path = the_shop.app.state.database.file
    path.rename(tmp_path / "away.db")
    path.mkdir()
    for one in (client, again):
        response = await one.get("/dashboard")
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert not response.headers.get_list("set-cookie")
    path.rmdir()
    (tmp_path / "away.db").rename(path)
    assert [await is_in(one) for one in (client, again)] == [True, True]


async def test_rotated_token_arrives_with_an_internal_error(the_shop: Shop) -> None:
    @the_shop.app.get("/broken", dependencies=[Depends(get_current_user)])
    async def fail() -> None:
        raise RuntimeError

    again = the_shop.reopen(await the_shop.browser())
    response = await again.get("/broken")
    assert response.status_code == 500
    (cookie,) = token_cookies(response)
    assert parse_token(cookie.removeprefix(SET_COOKIE).partition(";")[0])
