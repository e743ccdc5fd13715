"""Changes without a response of the shop are shown as not stored, and are never sent later by themselves."""

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, Request, Route, expect

from tests.support.servers.redis import RedisServer
from tests.support.shop_server import Shop

from .chromium import add_to_cart
from .conftest import OpenVisitor
from .test_cart_gestures import button, expect_stored, field, fill_cart
from .test_concurrent_tabs import add_button

pytestmark = pytest.mark.anyio

KEYBOARD, HUB = "Wireless Keyboard", "USB-C Hub"
UNCONFIRMED = "Your change was not confirmed"
CHANGES = re.compile(r"/cart/(\d+|add|clear|restore)$")
"""URLs of the forms of the cart."""


async def fail(page: Page, failure: int | str) -> None:
    """Answer each change with the page of a proxy, or with a closed connection."""

    async def respond(route: Route) -> None:
        if isinstance(failure, int):
            await route.fulfill(status=failure, content_type="text/html", body=f"<h1>{failure}</h1>")
        else:
            await route.abort(failure)

    await page.route(CHANGES, respond)


async def heal(page: Page) -> None:
    await page.unroute(CHANGES)


async def press_plus(page: Page) -> None:
    await button(page, f"Increase quantity: {KEYBOARD}").click()


async def type_quantity(page: Page) -> None:
    await field(page, KEYBOARD).fill("4")
    await page.keyboard.press("Enter")


async def remove(page: Page) -> None:
    await button(page, f"Remove: {KEYBOARD}").click()


@pytest.mark.parametrize("failure", [413, 429, 503, "connectionreset"])
@pytest.mark.parametrize(
    ("path", "gesture"),
    [("/cart", press_plus), ("/cart", type_quantity), ("/cart", remove), ("/products/1", press_plus)],
)
async def test_a_failed_change_is_taken_back(
    file_shop: Shop,
    visit: OpenVisitor,
    failure: int | str,
    path: str,
    gesture: Callable[[Page], Awaitable[None]],
) -> None:
    person = await visit(file_shop)
    person.expected |= {failure, "ERR_CONNECTION_RESET"}
    page = await person.tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto(path)
    await fail(page, failure)
    await gesture(page)
    await expect(page.locator("#notices")).to_contain_text(UNCONFIRMED)
    await expect(field(page, KEYBOARD)).to_have_value("1")
    await expect(page.locator("#content [aria-busy=true]")).to_have_count(0)

    await heal(page)
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))
    await page.request.put("/api/cart/1", data={"quantity": 7})  # as by another tab
    await page.goto("/cart")
    await expect(field(page, KEYBOARD)).to_have_value("7")
    await page.goto("/cart")  # whatever the first page sent when it was left is stored by now
    await expect(field(page, KEYBOARD)).to_have_value("7")
    assert [request.url for request in requests if request.method == "POST"] == []


async def test_presses_without_a_network_can_be_repeated(file_shop: Shop, visit: OpenVisitor) -> None:
    """As the message says, each of them counts once."""
    person = await visit(file_shop)
    person.expected.add("ERR_INTERNET_DISCONNECTED")
    page = await person.tab()
    await fill_cart(page, 1)
    await person.context.set_offline(True)
    for _ in range(3):
        await button(page, "Increase quantity: Item 1").click()
    await expect(page.locator("#notices")).to_contain_text("it counts once")
    await expect(field(page, "Item 1")).to_have_value("1")
    await person.context.set_offline(False)
    await button(page, "Increase quantity: Item 1").click()
    await expect_stored(page, Item_1=2)


async def test_a_press_after_a_failure_is_kept(file_shop: Shop, visit: OpenVisitor) -> None:
    """A press during a request that fails is another one."""
    person = await visit(file_shop)
    person.expected.add(503)
    page = await person.tab()
    await fill_cart(page, 1)

    async def press_again(route: Route) -> None:
        await button(page, "Increase quantity: Item 1").click()
        await route.fulfill(status=503)

    await page.route(CHANGES, press_again, times=1)
    await button(page, "Increase quantity: Item 1").click()
    await expect(page.locator(".badge")).to_contain_text("3")
    await expect_stored(page, Item_1=3)


async def test_a_lost_addition_is_repeated_and_counts_once(file_shop: Shop, visit: OpenVisitor) -> None:
    """The shop has stored it; only the response is missing."""
    person = await visit(file_shop)
    person.expected.add("ERR_CONNECTION_RESET")
    page = await person.tab()
    await add_to_cart(page, HUB)

    async def lose_response(route: Route) -> None:
        await route.fetch()
        await route.abort("connectionreset")

    await page.route(CHANGES, lose_response)
    await add_button(page, KEYBOARD).click()
    await expect(page.locator("#notices")).to_contain_text(UNCONFIRMED)
    await heal(page)
    await add_button(page, KEYBOARD).click()
    await expect(page.locator(".badge")).to_contain_text("2")
    await expect_stored(page, Wireless_Keyboard=1, **{"USB-C_Hub": 1})


@pytest.mark.parametrize("gesture", ["Remove: Item 2", "Clear cart"])
async def test_undo_remains_after_a_failure(file_shop: Shop, visit: OpenVisitor, gesture: str) -> None:
    """Also if another change fails."""
    person = await visit(file_shop)
    person.expected.add(503)
    page = await person.tab()
    await fill_cart(page)
    await button(page, gesture).click()
    undo = button(page, "Undo")
    await expect(undo).to_be_visible()
    await fail(page, 503)
    await undo.press("Enter")
    await expect(page.locator("#notices")).to_contain_text(UNCONFIRMED)
    await expect(undo).to_be_focused()
    if gesture != "Clear cart":
        await button(page, "Increase quantity: Item 1").click()
        await expect(page.locator("#content [aria-busy=true]")).to_have_count(0)
        await expect(field(page, "Item 1")).to_have_value("1")
    await heal(page)
    await undo.press("Enter")
    await expect(page.locator(".line h2")).to_have_text(["Item 1", "Item 2", "Item 3"])
    await expect(undo).to_have_count(0)
    await expect(page.locator("#notices")).not_to_contain_text(UNCONFIRMED)
    await expect_stored(page, Item_1=1, Item_2=1, Item_3=1)


async def test_undo_remains_after_an_outage_of_the_store(
    redis_server: RedisServer, redis_shop: Shop, visit: OpenVisitor
) -> None:
    person = await visit(redis_shop)
    person.expected.add(503)
    page = await person.tab()
    await fill_cart(page)
    await button(page, "Remove: Item 2").click()
    undo = button(page, "Undo")
    await expect(undo).to_be_visible()
    redis_server.server.pause()
    try:
        await undo.click()
        await expect(page.locator("#notices .problem")).to_be_visible()
    finally:
        redis_server.server.resume()
    restored = page.get_by_text("Restored: Item 2")
    for _ in range(100):  # until the circuit breaker's next attempt
        async with page.expect_response("**/cart/restore") as response:
            await undo.click()
        if (await response.value).ok:
            break
    await expect(restored).to_be_visible()
    await expect(page.locator(".line h2")).to_have_text(["Item 1", "Item 2", "Item 3"])
