"""C12b: a speculation rule fetches a page in advance, and the message on it is not lost."""

import json

import pytest
from playwright.async_api import Page, expect

from tests.running import Shop

from .conftest import Come

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
    """Let the browser prefetch or prerender a page from the one that is open."""
    rules = {action: [{"source": "list", "urls": [path], "eagerness": "immediate"}]}
    await page.evaluate(_ADD_RULES, json.dumps(rules))


async def test_c12b_a_prefetched_page_leaves_the_message_for_the_next(file_shop: Shop, visit: Come) -> None:
    page = await (await visit(file_shop, bypass_csp=True)).tab()
    fields = {"name": "Ann", "email": "ann@example.com"}
    await page.request.post("/profile/update", form={**fields}, max_redirects=0)
    await page.goto("/preferences")
    await speculate(page, "prefetch", "/profile")
    await page.evaluate("location.href = '/profile'")  # waits for the prefetch that is under way
    await page.wait_for_url("**/profile")
    how = "performance.getEntriesByType('navigation')[0].deliveryType"
    assert await page.evaluate(how) == "navigational-prefetch"
    await expect(page.get_by_label("Name")).to_have_value("Ann")
    await expect(page.get_by_text(SAVED)).to_have_count(0)
    await page.reload()
    await expect(page.get_by_text(SAVED)).to_be_visible()
    await page.reload()
    await expect(page.get_by_text(SAVED)).to_have_count(0)
