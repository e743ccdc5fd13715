"""Fast clicks, typed quantities, focus and scroll position on the cart page; undo."""

import asyncio
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.support.shop_server import Shop

from .chromium import violations
from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio

KEYBOARD, HUB, MOUSE = "Wireless Keyboard", "USB-C Hub", "Wireless Mouse"
INTERVALS = pytest.mark.parametrize("interval", [60, 120, 300, 600])
"""Milliseconds between two presses."""

with_and_without = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])


async def fill_cart(page: Page, lines: int = 3, quantity: int = 1) -> None:
    """Add lines named "Item 1", "Item 2", ... at 1.00 each, and open the cart."""
    for number in range(1, lines + 1):
        item = {"product_id": 1000 + number, "name": f"Item {number}", "price": 1, "quantity": quantity}
        response = await page.request.post("/api/cart/add", data=item)
        assert response.status == 200
    await page.goto("/cart")


async def stored_quantities(page: Page) -> dict[str, int]:
    """Return the committed quantities by product name."""
    cart = await (await page.request.get("/api/cart")).json()
    return {item["name"]: item["quantity"] for item in cart["items"]}


async def expect_stored(page: Page, **quantities: int) -> None:
    """Wait until these quantities, by product name with underscores, are committed."""
    expected = {name.replace("_", " "): quantity for name, quantity in quantities.items()}
    for _ in range(50):
        if await stored_quantities(page) == expected:
            return
        await asyncio.sleep(0.1)
    assert await stored_quantities(page) == expected


async def press(page: Page, button: Locator, times: int, interval: float) -> None:
    """Click at one place as a hand does: the pointer stays, and the browser counts the clicks."""
    box = await button.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    await page.mouse.move(x, y)
    for number in range(times):
        if number:
            await asyncio.sleep(interval / 1000)
        count = number + 1 if interval < 500 else 1
        await page.mouse.down(click_count=count)
        await page.mouse.up(click_count=count)


async def add_latency(page: Page, milliseconds: int) -> None:
    """Delay each request."""
    devtools = await page.context.new_cdp_session(page)
    conditions = {"offline": False, "latency": milliseconds, "downloadThroughput": -1, "uploadThroughput": -1}
    await devtools.send("Network.emulateNetworkConditions", conditions)


def field(page: Page, product: str) -> Locator:
    return page.get_by_role("spinbutton", name=f"Quantity: {product}", exact=True)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


@INTERVALS
async def test_double_click_removes_one_line(file_shop: Shop, visit: OpenVisitor, interval: int) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await press(page, button(page, "Remove: Item 1"), 2, interval)
    await expect(page.locator(".line")).to_have_count(2)
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await expect_stored(page, Item_2=1, Item_3=1)


@INTERVALS
async def test_triple_click_on_minus_affects_one_line(
    file_shop: Shop, visit: OpenVisitor, interval: int
) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await press(page, button(page, "Decrease quantity: Item 1"), 3, interval)
    await expect(page.locator(".line")).to_have_count(2)
    await expect(page.locator("[aria-busy=true]")).to_have_count(0)
    await expect_stored(page, Item_2=1, Item_3=1)


async def test_moved_pointer_removes_the_next_line(file_shop: Shop, visit: OpenVisitor) -> None:
    """Only a click at the same place is ignored."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await button(page, "Remove: Item 1").click()
    await expect(page.locator(".line")).to_have_count(2)
    await button(page, "Remove: Item 3").click()
    await expect_stored(page, Item_2=1)


async def test_typed_quantity_is_saved_on_blur(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 2)
    await field(page, "Item 1").fill("7")
    await page.get_by_role("heading", level=1).click()
    await expect_stored(page, Item_1=7, Item_2=1)
    await expect(page.locator("[data-total]")).to_have_text("$8.00")
    await expect(button(page, "Update: Item 1")).to_have_count(0)


async def test_typed_quantity_is_saved_when_the_page_is_left(file_shop: Shop, visit: OpenVisitor) -> None:
    """The link waits for the change, so the next page shows it."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 1)
    await field(page, "Item 1").fill("7")
    await page.get_by_role("link", name="Continue shopping").click()
    await expect(page).to_have_url(f"{file_shop.url}/")
    await expect(page.locator(".badge")).to_contain_text("7")
    await expect_stored(page, Item_1=7)


async def test_steps_start_from_the_typed_quantity(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 1)
    await field(page, "Item 1").fill("5")
    await button(page, "Increase quantity: Item 1").click()
    await expect(field(page, "Item 1")).to_have_value("6")
    await expect_stored(page, Item_1=6)
    await field(page, "Item 1").fill("")
    await page.get_by_role("heading", level=1).click()
    await expect(field(page, "Item 1")).to_have_value("6")


async def test_typing_during_a_response(file_shop: Shop, visit: OpenVisitor) -> None:
    """The response to another change leaves the focused field, its text and its caret alone."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 2)
    held, go = asyncio.Event(), asyncio.Event()

    async def slow(route: Route) -> None:
        held.set()
        await go.wait()
        await route.continue_()

    await page.route(re.compile(r"/cart/1002$"), slow)
    await button(page, "Increase quantity: Item 2").click()
    await held.wait()
    await field(page, "Item 1").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("1")
    go.set()
    await expect(page.locator(".badge")).to_contain_text("3")
    await page.keyboard.type("2")
    await expect(field(page, "Item 1")).to_have_value("12")
    await page.keyboard.press("Enter")
    await expect_stored(page, Item_1=12, Item_2=2)


async def test_typing_during_a_refresh(file_shop: Shop, visit: OpenVisitor) -> None:
    """A change in another tab renews every line, except the text of the focused field."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 2)
    await field(page, "Item 1").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("4")
    await page.request.put("/api/cart/1002", data={"quantity": 5})
    await page.evaluate("() => new BroadcastChannel('cart').postMessage('changed')")
    await expect(field(page, "Item 2")).to_have_value("5")
    await page.keyboard.type("2")
    await expect(field(page, "Item 1")).to_have_value("42")
    await page.keyboard.press("Enter")
    await expect_stored(page, Item_1=42, Item_2=5)


async def test_removal_keeps_the_scroll_position(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 200)
    await button(page, "Remove: Item 150").scroll_into_view_if_needed()
    before: float = await page.evaluate("() => scrollY")
    await button(page, "Remove: Item 150").press("Enter")
    await expect(page.locator(".line")).to_have_count(199)
    assert abs(await page.evaluate("() => scrollY") - before) < 5
    await expect(page.locator("#line-1151")).to_be_focused()  # the line that took its place


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
async def test_plus_stays_under_the_pointer(file_shop: Shop, visit: OpenVisitor, width: int) -> None:
    page = await (await visit(file_shop, viewport={"width": width, "height": 800})).tab()
    for product_id, price in ((1, "79.99"), (2, "5.00")):
        item = {"product_id": product_id, "name": f"Item {product_id}", "price": price, "quantity": 1}
        await page.request.post("/api/cart/add", data=item)
    await page.goto("/cart")
    places = []
    for quantity in ("1", "9", "99", "9999"):
        await field(page, "Item 1").fill(quantity)
        await page.keyboard.press("Enter")
        await expect(page.locator(".badge")).to_contain_text(f"{int(quantity) + 1:,}")
        places.append(await button(page, "Increase quantity: Item 1").bounding_box())
    assert all(one == other for one, other in pairwise(places))


@pytest.mark.parametrize("path", ["/cart", "/products/1"])
async def test_plus_at_the_limit_names_the_limit(file_shop: Shop, visit: OpenVisitor, path: str) -> None:
    person = await visit(file_shop)
    person.expected.add(400)
    page = await person.tab()
    await page.request.post("/cart/add", form={"product_id": 1, "quantity": 10_000})
    await page.goto(path)
    await button(page, f"Increase quantity: {KEYBOARD}").click()
    await expect(page.locator("#notices")).to_contain_text("from 0 to 10,000")
    await expect(page.get_by_text("Cart updated")).to_have_count(0)
    await expect(page.locator("#content [aria-busy=true]")).to_have_count(0)
    await expect_stored(page, Wireless_Keyboard=10_000)


@INTERVALS
async def test_each_press_counts(file_shop: Shop, visit: OpenVisitor, interval: int) -> None:
    """Five presses are shown at once, and settle one round trip after the one in flight.

    At a latency of 400 ms that is within a second of the last press: 150 ms of rest and two round trips.
    """
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 1)
    await add_latency(page, 400)
    started: list[str] = []
    finished: list[str] = []
    page.on("request", lambda request: started.append(request.url))
    page.on("requestfinished", lambda request: finished.append(request.url))
    await press(page, button(page, "Increase quantity: Item 1"), 5, interval)
    assert await field(page, "Item 1").input_value() == "6"
    finished_before = count_cart_requests(finished)
    await expect(page.locator("[data-total]")).to_have_text("$6.00")
    await expect(page.locator(".line")).not_to_have_attribute("aria-busy", "true")
    assert count_cart_requests(started) - finished_before <= 2
    await expect_stored(page, Item_1=6)


def count_cart_requests(urls: list[str]) -> int:
    """Count the requests for the cart, without those of the strip."""
    return sum("/cart" in url for url in urls)


@INTERVALS
async def test_each_addition_counts(file_shop: Shop, visit: OpenVisitor, interval: int) -> None:
    page = await (await visit(file_shop)).tab()
    await page.goto("/")
    await add_latency(page, 100)
    await press(page, button(page, f"Add to cart: {KEYBOARD}"), 5, interval)
    await expect(page.locator(".badge")).to_contain_text("5")
    await expect_stored(page, Wireless_Keyboard=5)


async def test_change_of_another_client_is_shown(file_shop: Shop, visit: OpenVisitor) -> None:
    """The response to a press has one complete line; the others are fetched if their state differs."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page)
    await page.request.put("/api/cart/1003", data={"quantity": 5})
    async with page.expect_response("**/cart/1001") as pressed:
        await button(page, "Increase quantity: Item 1").click()
    assert (await (await pressed.value).text()).count("data-step") == 2  # one stepper
    await expect(field(page, "Item 3")).to_have_value("5")
    await expect(page.locator("[data-total]")).to_have_text("$8.00")
    await page.request.delete("/api/cart/1002")
    await page.request.post("/api/cart/add", data={"product_id": 1002, "name": "Item 2", "price": 1})
    await button(page, "Increase quantity: Item 1").click()
    await expect(page.locator(".line h2")).to_have_text(["Item 1", "Item 3", "Item 2"])


async def test_presses_before_a_link_count(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 1)
    await press(page, button(page, "Increase quantity: Item 1"), 5, 80)
    await page.get_by_role("link", name="Continue shopping").click()
    await expect(page).to_have_url(re.compile("/$"))
    await expect(page.locator(".badge")).to_contain_text("6")
    await expect_stored(page, Item_1=6)


async def test_a_press_stored_after_the_next_page_is_shown_there(file_shop: Shop, visit: OpenVisitor) -> None:
    """A link waits for the press, an address that is typed does not."""
    page = await (await visit(file_shop)).tab()
    await fill_cart(page, 1)
    with blocked_writes(file_shop):
        await button(page, "Increase quantity: Item 1").click()
        async with page.expect_response("**/cart") as first_look:
            await page.goto("/")
        await (await first_look.value).finished()
    await expect(page.locator(".badge")).to_contain_text("2")


@contextmanager
def blocked_writes(shop: Shop) -> Iterator[None]:
    """Hold the lock of each folder of sessions; reads need none."""
    with ExitStack() as stack:
        for folder in (shop.folder / "data" / "sessions").glob("*/"):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


async def test_presses_before_the_tab_is_closed_count(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page, other = await person.tab(), await person.tab()
    await fill_cart(page, 1)
    await button(page, "Increase quantity: Item 1").click()
    await page.close(run_before_unload=True)
    await expect_stored(other, Item_1=2)


@with_and_without
async def test_undo_of_a_removal(file_shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    page = await (await visit(file_shop, java_script_enabled=scripts)).tab()
    await fill_cart(page, quantity=4)
    await button(page, "Remove: Item 2").click()
    await expect(page.get_by_text("Removed: Item 2")).to_be_visible()
    await expect(page.locator(".line")).to_have_count(2)
    if scripts:
        assert await violations(page) == []
    await page.mouse.move(0, 0)
    await button(page, "Undo").click()
    await expect(page.get_by_text("Restored: Item 2")).to_be_visible()
    await expect(page.locator(".line h2")).to_have_text(["Item 1", "Item 2", "Item 3"])
    await expect(field(page, "Item 2")).to_have_value("4")
    await expect(button(page, "Undo")).to_have_count(0)


@with_and_without
async def test_undo_of_clear(file_shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    page = await (await visit(file_shop, java_script_enabled=scripts)).tab()
    await fill_cart(page, 200, quantity=2)
    await button(page, "Clear cart").click()
    await expect(page.get_by_text("Your cart is empty.")).to_be_visible()
    await button(page, "Undo").click()
    await expect(page.locator(".line")).to_have_count(200)
    await expect(page.locator(".badge")).to_contain_text("400")
