"""A connection cut before the response: the browser repeats the request by itself (finding C9)."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from playwright.async_api import Page, expect

from tests.support.servers.proxy import Proxy
from tests.support.shop_server import Shop

from .chromium import add_to_cart
from .conftest import OpenVisitor
from .test_user_journeys import PASSWORD, new_address

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(shop: Shop) -> AsyncIterator[Proxy]:
    async with Proxy(int(shop.url.rpartition(":")[2])) as proxy:
        yield proxy


async def visit_through(shop: Shop, proxy: Proxy, visit: OpenVisitor) -> Page:
    """Open a visitor behind the proxy and add a product to the cart."""
    person = await visit(replace(shop, url=f"http://127.0.0.1:{proxy.port}"))
    page = await person.tab()
    await add_to_cart(page, "Wireless Keyboard")
    return page


async def assert_logged_in_with_cart(page: Page, proxy: Proxy) -> None:
    await expect(page).to_have_url(re.compile("/dashboard$"))
    await expect(page.locator("body[data-user]")).to_be_visible()
    await expect(page.locator(".badge")).to_contain_text("1")
    assert proxy.cuts == 1


async def test_c9_login(shop: Shop, proxy: Proxy, visit: OpenVisitor) -> None:
    address = new_address()
    async with shop.client() as elsewhere:
        user = {"name": "Ann", "email": address, "password": PASSWORD}
        assert (await elsewhere.post("/register", json=user)).status_code == 201
    page = await visit_through(shop, proxy, visit)
    await page.goto("/login")
    await page.get_by_label("Email").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    proxy.cut_next_answer()
    await page.get_by_role("button", name="Log in").click()
    await assert_logged_in_with_cart(page, proxy)


async def test_c9_registration(shop: Shop, proxy: Proxy, visit: OpenVisitor) -> None:
    page = await visit_through(shop, proxy, visit)
    await page.goto("/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill(new_address())
    await page.get_by_label("Password").fill(PASSWORD)
    proxy.cut_next_answer()
    await page.get_by_role("button", name="Create account").click()
    await assert_logged_in_with_cart(page, proxy)


async def test_c9_password_change(shop: Shop, proxy: Proxy, visit: OpenVisitor) -> None:
    page = await visit_through(shop, proxy, visit)
    user = {"name": "Ann", "email": new_address(), "password": PASSWORD}
    await page.request.post("/register", form={**user})
    await page.goto("/dashboard")
    await page.get_by_label("Current password").fill(PASSWORD)
    await page.get_by_label("New password").fill("another phrase of mine")
    proxy.cut_next_answer()
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_text("Password changed")).to_have_count(1)
    await assert_logged_in_with_cart(page, proxy)


async def test_c9_flash_is_shown_once(shop: Shop, proxy: Proxy, visit: OpenVisitor) -> None:
    page = await visit_through(shop, proxy, visit)
    await page.goto("/profile")
    await page.get_by_label("Name").fill("Ann")
    proxy.cut_next_answer()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Profile updated successfully")).to_have_count(1)
    assert proxy.cuts == 1
