"""What happens to people: two tabs, double clicks, the back button, a slow line, a session that has ended."""

import asyncio
import re

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.running import Shop
from tests.servers.redis import RedisServer

from .chromium import put_into_cart
from .conftest import Come

pytestmark = pytest.mark.anyio

KEYBOARD, HUB = "Wireless Keyboard", "USB-C Hub"


async def quantity(page: Page, product: str) -> str:
    """How many there are of a product, by the cart page."""
    await page.goto("/cart")
    return await page.get_by_role("spinbutton", name=f"Quantity: {product}").input_value()


def add_button(page: Page, product: str) -> Locator:
    return page.get_by_role("button", name=f"Add to cart: {product}")


async def test_two_tabs_at_once(shop: Shop, visit: Come) -> None:
    person = await visit(shop)
    first, second = await person.tab(), await person.tab()
    await put_into_cart(first, KEYBOARD)  # so that both are in one session
    await second.goto("/")
    for _ in range(3):
        both = (add_button(first, KEYBOARD).click(), add_button(second, HUB).click())
        await asyncio.gather(*both)
        await expect(first.locator("#content [aria-busy]")).to_have_count(0)
        await expect(second.locator("#content [aria-busy]")).to_have_count(0)
    await first.goto("/cart")
    await expect(first.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")).to_have_value("4")
    await expect(first.get_by_role("spinbutton", name=f"Quantity: {HUB}")).to_have_value("3")


async def test_another_tab_follows(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop)
    first, second = await person.tab(), await person.tab()
    await put_into_cart(first, KEYBOARD)
    await second.goto("/cart")
    await first.bring_to_front()
    await add_button(first, HUB).click()
    await expect(first.locator(".badge")).to_contain_text("2")
    await second.bring_to_front()
    await expect(second.locator(".badge")).to_contain_text("2")
    await expect(second.get_by_role("spinbutton", name=f"Quantity: {HUB}")).to_be_visible()


async def test_an_old_page_in_another_tab(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop, java_script_enabled=False)
    first, second = await person.tab(), await person.tab()
    await put_into_cart(first, KEYBOARD)
    await second.goto("/cart")
    await first.goto("/cart")
    await first.get_by_role("button", name="Empty the cart").click()
    await second.get_by_role("button", name=f"Remove: {KEYBOARD}").click()  # which is gone already
    await expect(second.get_by_text("There is nothing in it yet.")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
async def test_a_double_click_counts_once(shop: Shop, visit: Come, scripts: bool) -> None:
    page = await (await visit(shop, java_script_enabled=scripts)).tab()
    await page.goto("/")
    await add_button(page, KEYBOARD).dblclick()
    await expect(page.locator(".badge")).to_contain_text("1")
    assert await quantity(page, KEYBOARD) == "1"


async def test_the_same_form_twice_counts_once(shop: Shop, visit: Come) -> None:
    """A reload that sends the form again, or a browser that repeats a request by itself."""
    page = await (await visit(shop, java_script_enabled=False)).tab()
    await page.goto("/")
    form = page.locator("form", has=add_button(page, KEYBOARD))
    inputs = await form.locator("input").all()
    fields = {str(await one.get_attribute("name")): await one.input_value() for one in inputs}
    for _ in range(2):
        answer = await page.request.post("/cart/add", form={**fields})
        assert answer.status == 200
    assert await quantity(page, KEYBOARD) == "1"


async def test_the_back_button(file_shop: Shop, visit: Come) -> None:
    page = await (await visit(file_shop)).tab()
    await put_into_cart(page, KEYBOARD)
    await page.goto("/cart")
    await page.get_by_role("button", name=f"One more: {KEYBOARD}").click()
    await expect(page.locator(".badge")).to_contain_text("2")
    await page.go_back()
    await expect(page).to_have_url(re.compile(r"/$"))
    await expect(page.locator(".badge")).to_contain_text("2")
    await add_button(page, KEYBOARD).click()  # on the page as the browser kept it
    await expect(page.locator(".badge")).to_contain_text("3")
    await page.go_forward()
    await expect(page.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")).to_have_value("3")


async def test_back_after_log_out_shows_nothing_private(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    await page.request.post(
        "/register", data={"name": "Ann", "email": "back@example.com", "password": "a long phrase of mine"}
    )
    await page.goto("/dashboard")
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_url(re.compile("/login$"))
    await page.go_back()
    await expect(page).to_have_url(re.compile("/login"))


async def test_a_slow_line(file_shop: Shop, visit: Come) -> None:
    """While a change is under way it is said, other buttons wait their turn, and each counts."""
    page = await (await visit(file_shop)).tab()
    await put_into_cart(page, KEYBOARD)
    await page.goto("/cart")
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(route: Route) -> None:
        held.set()
        await go.wait()
        await route.continue_()

    await page.route(re.compile(r"/cart/1$"), slow)
    more = page.get_by_role("button", name=f"One more: {KEYBOARD}")
    await more.click()
    await held.wait()
    await expect(page.locator(".line")).to_have_attribute("aria-busy", "true")
    await more.click()
    await more.click()
    go.set()
    await expect(page.locator(".badge")).to_contain_text("4")
    await expect(page.locator(".line")).not_to_have_attribute("aria-busy", "true")
    assert await quantity(page, KEYBOARD) == "4"


async def test_a_line_that_breaks(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    person.expected.add("ERR_FAILED")
    await page.goto("/")
    await page.route("**/cart/add", lambda route: route.abort())
    await add_button(page, KEYBOARD).click()
    await expect(page.get_by_text("it is not known whether this was done")).to_be_visible()
    await page.unroute("**/cart/add")
    await add_button(page, KEYBOARD).click()
    await expect(page.locator(".badge")).to_contain_text("1")
    assert await quantity(page, KEYBOARD) == "1"


async def test_a_session_that_ends_amid_the_cart(shop: Shop, visit: Come) -> None:
    person = await visit(shop)
    page = await person.tab()
    await put_into_cart(page, KEYBOARD)
    await page.goto("/cart")
    await person.lose_session()
    person.expected.add(404)
    await page.get_by_role("button", name=f"One more: {KEYBOARD}").click()
    await expect(page.get_by_text("session has ended").first).to_be_visible()
    await page.goto("/")
    await add_button(page, HUB).click()
    await expect(page.locator(".badge")).to_contain_text("1")
    await expect(page.get_by_text("this is a new cart")).to_be_visible()


async def test_a_session_that_ends_amid_a_form(shop: Shop, visit: Come) -> None:
    """What was typed is kept, and it is said what happened."""
    person = await visit(shop)
    page = await person.tab()
    await page.request.post(
        "/register", data={"name": "Ann", "email": "amid@example.com", "password": "a long phrase of mine"}
    )
    await page.goto("/profile")
    await page.get_by_label("Name").fill("Ann Other")
    await person.lose_session()
    person.expected.add(401)
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Your session has ended; log in again").first).to_be_visible()


async def test_a_store_out_of_reach(redis_server: RedisServer, redis_shop: Shop, visit: Come) -> None:
    """It is said, nothing is lost, and the way on is there."""
    person = await visit(redis_shop)
    person.expected.add(503)
    page = await person.tab()
    await put_into_cart(page, KEYBOARD)
    redis_server.server.pause()
    try:
        await page.get_by_role("button", name=f"Add to cart: {HUB}").click()
        await expect(page.locator("#notices .problem")).to_be_visible()
        await page.goto("/cart")
        await expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("out of reach"))
        await expect(page.get_by_text("Your cart was not changed by this.")).to_be_visible()
    finally:
        redis_server.server.resume()
    line = page.get_by_role("spinbutton", name=f"Quantity: {KEYBOARD}")
    for _ in range(100):  # until the breaker's next probe
        if await line.count():
            break
        await page.get_by_role("link", name="Try again").click()
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await expect(line).to_have_value("1")
