"""Concurrent tabs, double clicks, the back button, slow and broken networks, ended sessions."""

import asyncio
import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.support.servers.redis import RedisServer
from tests.support.shop_server import Shop

from .chromium import add_to_cart, log_out
from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio

DOUBLE_CLICK = 300  # milliseconds
KEYBOARD, HUB = "Wireless Keyboard", "USB-C Hub"


async def quantity(page: Page, product: str) -> str:
    """Return the quantity of a product on the cart page."""
    await page.goto("/cart")
    return await page.get_by_role("spinbutton", name=f"Quantity: {product}").input_value()


def add_button(page: Page, product: str) -> Locator:
    return page.get_by_role("button", name=f"Add to cart: {product}")


async def add(page: Page, product: str) -> None:
    """Click, wait for the response, and let the time of a double click pass, which counts once."""
    stepper = page.get_by_role("button", name=f"Increase quantity: {product}")
    async with page.expect_response("**/cart/*"):
        # As by a key: one of the tabs is in the background, where a pointer waits for the next frame.
        await add_button(page, product).or_(stepper).evaluate("(button) => button.click()")
    await page.wait_for_timeout(DOUBLE_CLICK)
    await expect(stepper).to_be_visible()  # so that no click reaches the button that it replaces


async def test_two_concurrent_tabs(shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(shop)
    first, second = await person.tab(), await person.tab()
    await add_to_cart(first, KEYBOARD)  # both tabs share a session
    await expect(first.get_by_role("button", name=f"Increase quantity: {KEYBOARD}")).to_be_visible()
    await second.goto("/")
    for _ in range(3):
        await asyncio.gather(add(first, KEYBOARD), add(second, HUB))
        await expect(first.locator("#content [aria-busy=true]")).to_have_count(0)
        await expect(second.locator("#content [aria-busy=true]")).to_have_count(0)
    await first.goto("/cart")
    await expect(first.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")).to_have_value("4")
    await expect(first.get_by_role("spinbutton", name=f"Quantity: {HUB}")).to_have_value("3")


async def test_other_tab_is_refreshed(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    first, second = await person.tab(), await person.tab()
    await add_to_cart(first, KEYBOARD)
    await second.goto("/cart")
    await first.bring_to_front()
    await add_button(first, HUB).click()
    await expect(first.locator(".badge")).to_contain_text("2")
    await second.bring_to_front()
    await expect(second.locator(".badge")).to_contain_text("2")
    await expect(second.get_by_role("spinbutton", name=f"Quantity: {HUB}")).to_be_visible()


async def test_outdated_page_in_another_tab(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop, java_script_enabled=False)
    first, second = await person.tab(), await person.tab()
    await add_to_cart(first, KEYBOARD)
    await second.goto("/cart")
    await first.goto("/cart")
    await first.get_by_role("button", name="Clear cart").click()
    await second.get_by_role("button", name=f"Remove: {KEYBOARD}").click()  # already removed
    await expect(second.get_by_text("Your cart is empty.")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_double_click_counts_once(shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    page = await (await visit(shop, java_script_enabled=scripts)).tab()
    await page.goto("/")
    await add_button(page, KEYBOARD).dblclick()
    await expect(page.locator(".badge")).to_contain_text("1")
    assert await quantity(page, KEYBOARD) == "1"


async def test_repeated_form_counts_once(shop: Shop, visit: OpenVisitor) -> None:
    """As after a reload, or when a browser repeats a request by itself."""
    page = await (await visit(shop, java_script_enabled=False)).tab()
    await page.goto("/")
    form = page.locator("form", has=add_button(page, KEYBOARD))
    inputs = await form.locator("input").all()
    fields = {str(await one.get_attribute("name")): await one.input_value() for one in inputs}
    for _ in range(2):
        response = await page.request.post("/cart/add", form={**fields})
        assert response.status == 200
    assert await quantity(page, KEYBOARD) == "1"


async def test_back_button(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto("/cart")
    await page.get_by_role("button", name=f"Increase quantity: {KEYBOARD}").click()
    await expect(page.locator(".badge")).to_contain_text("2")
    await page.go_back()
    await expect(page).to_have_url(re.compile(r"/$"))
    await expect(page.locator(".badge")).to_contain_text("2")
    await add(page, KEYBOARD)  # on the page restored by the browser
    await expect(page.locator(".badge")).to_contain_text("3")
    await page.go_forward()
    await expect(page.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")).to_have_value("3")


async def test_back_after_logout_shows_nothing_private(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    await page.request.post(
        "/register", data={"name": "Ann", "email": "back@example.com", "password": "a long phrase of mine"}
    )
    await page.goto("/dashboard")
    await log_out(page)
    await expect(page).to_have_url(re.compile("/login$"))
    await page.go_back()
    await expect(page).to_have_url(re.compile("/login"))


async def test_slow_network(file_shop: Shop, visit: OpenVisitor) -> None:
    """A pending change is shown; further clicks wait and each counts."""
    page = await (await visit(file_shop)).tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto("/cart")
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(route: Route) -> None:
        held.set()
        await go.wait()
        await route.continue_()

    await page.route(re.compile(r"/cart/1$"), slow)
    more = page.get_by_role("button", name=f"Increase quantity: {KEYBOARD}")
    await more.click()
    await held.wait()
    await expect(page.locator(".line")).to_have_attribute("aria-busy", "true")
    await more.click()
    await more.click()
    go.set()
    await expect(page.locator(".badge")).to_contain_text("4")
    await expect(page.locator(".line")).not_to_have_attribute("aria-busy", "true")
    assert await quantity(page, KEYBOARD) == "4"


async def test_broken_network(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    person.expected.add("ERR_FAILED")
    await page.goto("/")
    await page.route("**/cart/add", lambda route: route.abort())
    await add_button(page, KEYBOARD).click()
    await expect(page.get_by_text("may or may not have been saved")).to_be_visible()
    await page.unroute("**/cart/add")
    await add_button(page, KEYBOARD).click()
    await expect(page.locator(".badge")).to_contain_text("1")
    assert await quantity(page, KEYBOARD) == "1"


async def test_session_ends_on_the_cart_page(shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(shop)
    page = await person.tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto("/cart")
    await person.lose_session()
    person.expected.add(404)
    await page.get_by_role("button", name=f"Increase quantity: {KEYBOARD}").click()
    await expect(page.get_by_text("session has ended").first).to_be_visible()
    await page.goto("/")
    await add_button(page, HUB).click()
    await expect(page.locator(".badge")).to_contain_text("1")
    await expect(page.get_by_text("this is a new cart")).to_be_visible()


async def test_session_ends_while_a_form_is_filled_in(shop: Shop, visit: OpenVisitor) -> None:
    """The form keeps its values and reports the ended session."""
    person = await visit(shop)
    page = await person.tab()
    await page.request.post(
        "/register", data={"name": "Ann", "email": "ended@example.com", "password": "a long phrase of mine"}
    )
    await page.goto("/profile")
    await page.get_by_label("Name").fill("Ann Other")
    await person.lose_session()
    person.expected.add(401)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Your session has ended; log in and submit").first).to_be_visible()


async def test_unavailable_store(redis_server: RedisServer, redis_shop: Shop, visit: OpenVisitor) -> None:
    """The page reports the outage, offers to retry, and nothing is lost."""
    person = await visit(redis_shop)
    person.expected.add(503)
    page = await person.tab()
    await add_to_cart(page, KEYBOARD)
    redis_server.server.pause()
    try:
        await page.get_by_role("button", name=f"Add to cart: {HUB}").click()
        await expect(page.locator("#notices .problem")).to_be_visible()
        await page.goto("/cart")
        await expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("temporarily unavailable"))
        await expect(page.get_by_text("Your cart was not changed.")).to_be_visible()
    finally:
        redis_server.server.resume()
    line = page.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")
    for _ in range(100):  # until the circuit breaker's next attempt
        if await line.count():
            break
        await page.get_by_role("link", name="Try again").click()
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(line).to_have_value("1")
