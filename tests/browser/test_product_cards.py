"""The stepper of a product card, the product page, and the order at the end of the cart."""

import pytest
from playwright.async_api import expect

from tests.support.shop_server import Shop

from .chromium import add_to_cart, violations
from .conftest import OpenVisitor
from .test_cart_gestures import button, expect_stored, field, press

pytestmark = pytest.mark.anyio

KEYBOARD = "Wireless Keyboard"


@pytest.mark.parametrize("width", [390, 1280])
async def test_stepper_replaces_the_button(file_shop: Shop, visit: OpenVisitor, width: int) -> None:
    """Clicks at one place add one each, also after the button became a stepper."""
    page = await (await visit(file_shop, viewport={"width": width, "height": 900})).tab()
    await page.goto("/")
    add = button(page, f"Add to cart: {KEYBOARD}")
    await add.scroll_into_view_if_needed()
    await press(page, add, 1, 0)
    await expect(button(page, f"Increase quantity: {KEYBOARD}")).to_be_visible()
    await expect(add).to_be_hidden()
    await page.mouse.down()
    await page.mouse.up()
    await expect(field(page, KEYBOARD)).to_have_value("2")
    await expect_stored(page, Wireless_Keyboard=2)
    assert await violations(page) == []
    await field(page, KEYBOARD).fill("7")
    await page.keyboard.press("Enter")
    await expect(page.locator(".badge")).to_contain_text("7")
    await field(page, KEYBOARD).fill("0")
    await page.keyboard.press("Enter")
    await expect(add).to_be_visible()
    await expect_stored(page)


async def test_stepper_follows_the_cart(file_shop: Shop, visit: OpenVisitor) -> None:
    """After a change in another tab and after a return by the back button."""
    person = await visit(file_shop)
    page, other = await person.tab(), await person.tab()
    await add_to_cart(page, KEYBOARD)
    await other.goto("/")
    await button(other, f"Increase quantity: {KEYBOARD}").click()
    await page.bring_to_front()
    await expect(field(page, KEYBOARD)).to_have_value("2")
    await page.get_by_role("link", name=KEYBOARD).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(KEYBOARD)
    await button(page, f"Increase quantity: {KEYBOARD}").click()
    await expect(page.locator(".badge")).to_contain_text("3")
    await page.go_back()
    await expect(field(page, KEYBOARD)).to_have_value("3")


async def test_two_columns_on_a_phone(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop, viewport={"width": 390, "height": 800})).tab()
    await page.goto("/")
    first, second = [await page.locator(".product").nth(number).bounding_box() for number in (0, 1)]
    assert first is not None
    assert second is not None
    assert first["y"] == second["y"]


async def test_order_dialog(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto("/cart")
    await button(page, "Check out").click()
    dialog = page.get_by_role("dialog", name="The demo ends here")
    await expect(dialog).to_contain_text('"amount": 7999')
    await expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(button(page, "Check out")).to_be_focused()
    await button(page, f"Increase quantity: {KEYBOARD}").click()
    await expect(page.locator("[data-total]")).to_have_text("$159.98")
    await button(page, "Check out").click()
    await expect(dialog).to_contain_text('"amount": 15998')
