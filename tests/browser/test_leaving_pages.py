"""Pages that are left at once after a change: it is stored, and the next page shows its message."""

import re

import pytest
from playwright.async_api import Page, Request, expect

from tests.support.shop_server import Shop

from .conftest import OpenVisitor
from .test_cart_gestures import add_latency, button, expect_stored, field, fill_cart, press
from .test_concurrent_tabs import HUB, KEYBOARD, add_button

pytestmark = pytest.mark.anyio

LATENCY = 400  # milliseconds


def record_requests(page: Page) -> list[str]:
    """Return a list that receives each start and end of a request of the page, with its method and path."""
    events: list[str] = []

    def note(event: str, request: Request) -> None:
        if "/static/" not in request.url:
            events.append(f"{event} {request.method} {re.sub(r'^https?://[^/]+', '', request.url)}")

    page.on("request", lambda request: note("start", request))
    page.on("requestfinished", lambda request: note("end", request))
    return events


async def test_first_products_of_a_new_visitor_are_in_one_session(
    file_shop: Shop, visit: OpenVisitor
) -> None:
    """The second request follows the response to the first one, which sets the cookie."""
    page = await (await visit(file_shop)).tab()
    await page.goto("/")
    await add_latency(page, LATENCY)
    events = record_requests(page)
    await add_button(page, KEYBOARD).click()
    await add_button(page, HUB).click()
    await page.locator(".to-cart").click()
    await expect(page).to_have_url(re.compile("/cart$"))
    await expect(page.locator(".line")).to_have_count(2)
    first, second = "start POST /cart/add", "end POST /cart/add"
    assert [event for event in events if "/cart" in event][:5] == [first, second] * 2 + ["start GET /cart"]
    await expect_stored(page, **{"Wireless_Keyboard": 1, "USB-C_Hub": 1})


async def test_a_link_waits_for_presses(file_shop: Shop, visit: OpenVisitor) -> None:
    """The stepper of the next page counts from the stored quantity."""
    page = await (await visit(file_shop)).tab()
    await page.goto("/")
    await add_button(page, KEYBOARD).click()
    await expect(page.locator(".badge")).to_contain_text("1")
    await page.goto("/cart")
    await add_latency(page, LATENCY)
    events = record_requests(page)
    await press(page, button(page, f"Increase quantity: {KEYBOARD}"), 3, 60)
    await page.get_by_role("link", name="Products", exact=True).click()
    await expect(page).to_have_url(re.compile("/$"))
    assert events.index("end POST /cart/1") < events.index("start GET /")
    assert await field(page, KEYBOARD).input_value() == "4"
    await button(page, f"Increase quantity: {KEYBOARD}").click()
    await expect_stored(page, Wireless_Keyboard=5)


@pytest.mark.parametrize("link", ["Products", "Cart"])
@pytest.mark.parametrize("is_sent", [False, True], ids=["waiting", "in flight"])
async def test_undo_is_offered_on_the_next_page(
    file_shop: Shop, visit: OpenVisitor, link: str, is_sent: bool
) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await add_latency(page, LATENCY)
    if is_sent:
        async with page.expect_request("**/cart/1002"):
            await button(page, "Remove: Item 2").click()
    else:
        await button(page, "Remove: Item 2").click()
    async with page.expect_event("domcontentloaded"):
        await page.locator(".top").get_by_role("link", name=re.compile(rf"^{link}")).click()
    await expect(page.get_by_text("Removed: Item 2")).to_be_visible()
    await expect_stored(page, Item_1=1, Item_3=1)
    await button(page, "Undo").click()
    await expect(page.get_by_text("Restored: Item 2")).to_be_visible()
    await expect_stored(page, Item_1=1, Item_2=1, Item_3=1)
    await page.goto("/cart")
    await expect(page.locator("#notices .message")).to_have_count(0)


async def test_undo_is_offered_after_a_reload(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await button(page, "Remove: Item 2").click()
    await page.reload()
    await expect(page.get_by_text("Removed: Item 2")).to_be_visible()
    await expect(button(page, "Undo")).to_be_visible()


async def test_a_link_opens_a_tab_during_a_change(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    await fill_cart(page, 1)
    await add_latency(page, LATENCY)
    await button(page, "Increase quantity: Item 1").click()
    async with person.context.expect_page() as opened:
        await page.get_by_role("link", name="Continue shopping").click(modifiers=["ControlOrMeta"])
    await expect(await opened.value).to_have_url(re.compile("/$"))
    await expect(page).to_have_url(re.compile("/cart$"))
    await expect(page.locator(".badge")).to_contain_text("2")
