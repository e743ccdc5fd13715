"""Cookies of our name with another domain or path: left by a changed setting, or planted."""

from itertools import permutations
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.session import CookieOptions
from cartapp.session.record import new_id
from tests.support.starlette_app import AppFactory, client

pytestmark = pytest.mark.anyio

HOST = "https://www.shop.example"
LEAST = CookieOptions(secure=True)
WIDE = CookieOptions(secure=True, domain="shop.example")
DEEP = CookieOptions(secure=True, path="/view")


def ours(browser: httpx.AsyncClient) -> list[str]:
    """Return the domains and paths of the browser's cookies with our name."""
    return [f"{one.domain} {one.path}" for one in browser.cookies.jar if one.name == "cart_session"]


@pytest.mark.parametrize(("before", "after"), [*permutations((LEAST, WIDE, DEEP), 2)])
async def test_cookie_variants_are_expired_so_that_a_new_session_works(
    wrap: AppFactory, before: CookieOptions, after: CookieOptions
) -> None:
    jar = httpx.Cookies()
    async with client(wrap(cookie=before), HOST) as browser:
        browser.cookies = jar
        jar.update((await browser.post("/update", json={"a": 1})).cookies)
    async with client(wrap(cookie=after), HOST) as browser:
        browser.cookies = jar
        jar.update((await browser.post("/update", json={"b": 1}, headers={"Cookie": ""})).cookies)
        assert len(ours(browser)) == 2
        assert (await browser.get("/view")).json() == {"session": {}}
        jar.update((await browser.post("/update", json={"c": 1})).cookies)
        assert len(ours(browser)) == 1
        assert (await browser.get("/view")).json() == {"session": {"c": 1}}


async def expired(wrap: AppFactory, base: str = HOST, **options: Any) -> list[tuple[str, str]]:
    """Return domain and path of each cookie that is expired after two different values."""
    two = f"cart_session={new_id()}; cart_session={new_id()}"
    async with client(wrap(cookie=CookieOptions(**({"secure": True} | options))), base) as http:
        response = await http.get("/view", headers={"Cookie": two})
    places = []
    for cookie in response.headers.get_list("set-cookie"):
        pair, *attributes = cookie.split("; ")
        named = dict(one.split("=") for one in attributes if "=" in one)
        assert (pair, named["Max-Age"], named["SameSite"]) == ("cart_session=", "0", "Lax")
        assert {"HttpOnly", "Secure"} <= set(attributes)
        places.append((named.get("Domain", ""), named["Path"]))
    assert len(set(places)) == len(places)
    return places


async def test_variants_for_host_domain_root_and_path_are_expired(wrap: AppFactory) -> None:
    places = await expired(wrap, domain="shop.example", path="/shop")
    assert {(domain, path) for domain in ("", "shop.example") for path in ("/", "/shop")} <= set(places)
    assert {("www.shop.example", "/"), ("", "/view")} <= set(places)
    assert len(places) <= 16
    assert not [place for place in places if place[0] == "example"]


@pytest.mark.parametrize(
    ("host", "domains"),
    [
        ("https://127.0.0.1:8443", {""}),
        ("https://[::1]", {""}),
        ("https://localhost:1", {"", "localhost"}),
        ("https://" + "a." * 30 + "b.shop.example", 6),
    ],
)
async def test_domains_of_variants_come_from_the_host_and_are_bounded(
    wrap: AppFactory, host: str, domains: Any
) -> None:
    found = {domain for domain, _ in await expired(wrap, base=host)}
    assert (len(found) if isinstance(domains, int) else found) == domains


@pytest.mark.parametrize(
    "header", [b"a b", b"shop.example;", b"a\r\nb", b"\xff", b"x" * 300, b"-.-", b"shop.example, b"]
)
async def test_an_invalid_host_adds_no_domain(wrap: AppFactory, header: bytes) -> None:
    two = f"cart_session={new_id()}; cart_session={new_id()}".encode()
    async with client(wrap(cookie=LEAST)) as http:
        response = await http.get("/view", headers=[(b"host", header), (b"cookie", two)])
    assert not [one for one in response.headers.get_list("set-cookie") if "Domain" in one]


@pytest.mark.parametrize("path", ["/view;Max-Age=9", "/view%0d%0aX: y", "/view%20", "/%00"])
async def test_a_path_cannot_inject_cookie_attributes(wrap: AppFactory, path: str) -> None:
    two = f"cart_session={new_id()}; cart_session={new_id()}"
    app = wrap(cookie=LEAST, load="auto")
    async with client(app, HOST) as http:
        response = await http.get(path, headers={"Cookie": two})
    assert "x" not in response.headers
    assert not [one for one in response.headers.get_list("set-cookie") if "view" in one or "=9" in one]


async def test_the_new_cookie_is_not_expired_with_its_variants(wrap: AppFactory) -> None:
    two = f"cart_session={new_id()}; cart_session={new_id()}"
    async with client(wrap(cookie=WIDE), HOST) as http:
        response = await http.post("/update", json={"a": 1}, headers={"Cookie": two})
        *others, last = response.headers.get_list("set-cookie")
        assert "Max-Age=604800; Domain=shop.example" in last
        assert others
        assert not [one for one in others if "Path=/; Max-Age=0; Domain=shop.example;" in one]


async def test_requests_that_ignore_the_session_set_no_cookie(wrap: AppFactory) -> None:
    two = f"cart_session={new_id()}; cart_session={new_id()}"
    async with client(wrap(cookie=LEAST, load="explicit"), HOST) as http:
        assert "set-cookie" not in (await http.get("/ping", headers={"Cookie": two})).headers
    async with client(wrap(cookie=LEAST), HOST) as http:
        assert "set-cookie" not in (await http.head("/view", headers={"Cookie": two})).headers
