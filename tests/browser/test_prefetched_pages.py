"""C12b: a page prefetched by a speculation rule does not consume the flash."""

import json

import pytest
from playwright.async_api import Page, expect

from tests.support.shop_server import Shop

from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio

SAVED = "Profile updated successfully"
_ADD_RULES = """
(rules) => {
    const script = document.createElement("script");
    script.type = "speculationrules";
    script.textContent = rules;
    document.head.append(script);
}
"""


async def speculate(page: Page, action: str, path: str) -> None:
    """Make the browser prefetch or prerender a page from the current one."""
    rules = {action: [{"source": "list", "urls": [path], "eagerness": "immediate"}]}
    await page.evaluate(_ADD_RULES, json.dumps(rules))


async def test_c12b_prefetched_page_keeps_the_flash(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop, bypass_csp=True)).tab()
    fields = {"name": "Ann", "email": "ann@example.com"}
    await page.request.post("/profile/update", form={**fields}, max_redirects=0)
    await page.goto("/preferences")
    await speculate(page, "prefetch", "/profile")
    await page.evaluate("location.href = '/profile'")  # waits for the pending prefetch
    await page.wait_for_url("**/profile")
    delivery = "performance.getEntriesByType('navigation')[0].deliveryType"
    assert await page.evaluate(delivery) == "navigational-prefetch"
    await expect(page.get_by_label("Name")).to_have_value("Ann")
    await expect(page.get_by_text(SAVED)).to_have_count(0)
    await page.reload()
    await expect(page.get_by_text(SAVED)).to_be_visible()
    await page.reload()
    await expect(page.get_by_text(SAVED)).to_have_count(0)
