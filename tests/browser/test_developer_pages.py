"""Pages for developers: the proof of concurrency, and the strip with the session."""

import re

import pytest
from playwright.async_api import expect

from tests.support.shop_server import Shop

from .chromium import add_to_cart, violations
from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio


async def test_proof_counts_lost_updates(shop: Shop, visit: OpenVisitor) -> None:
    """200 concurrent requests return 1 to 200 on a session of this library, and fewer on a plain one."""
    page = await (await visit(shop)).tab()
    await page.goto("/proof")
    await page.get_by_role("button", name="Send 200 concurrent requests").click()
    await expect(page.locator("#plain .verdict")).to_contain_text("updates lost")
    await expect(page.locator("#layer .verdict")).to_contain_text("the session counted 200, no update lost.")
    await expect(page.locator("#layer .once")).to_have_count(200)
    await expect(page.locator("#plain .once")).not_to_have_count(200)
    assert await page.locator("#plain .repeated").count() > 0
    assert await violations(page) == []


async def test_proof_of_log_out(shop: Shop, visit: OpenVisitor) -> None:
    """A late write revives a plain session after the log-out, and not one of this library."""
    person = await visit(shop)
    person.expected.add(409)
    page = await person.tab()
    await page.goto("/proof")
    await page.get_by_role("button", name="Log out while writing").click()
    await expect(page.locator("#plain .steps")).to_contain_text(
        "The session is back: Ann is logged in again."
    )
    await expect(page.locator("#layer .steps")).to_contain_text("The session stays ended.")


async def test_strip_shows_the_session_after_each_change(shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(shop)).tab()
    strip = page.get_by_role("complementary", name="Session")
    await page.goto("/")
    await expect(strip).to_contain_text("no session stored")
    await add_to_cart(page, "Wireless Keyboard")
    await expect(strip).to_contain_text("POST /cart/add")
    await expect(strip).to_contain_text(re.compile(r"create created \d+\.\d\d ms"))
    await expect(strip).to_contain_text(re.compile(r"v\w+\d+ Bguest"))
    before = await strip.locator(".fact").all_inner_texts()
    await page.get_by_role("button", name="Add to cart: USB-C Hub").click()
    await expect(strip).to_contain_text(re.compile(r"load found .*save saved"))
    after = await strip.locator(".fact").all_inner_texts()
    assert after[:2] == before[:2]  # the handle and the backend
    assert after[2] != before[2]  # the version
    await page.goto("/cart")
    await expect(strip).to_contain_text(re.compile("GET /cartload found"))
