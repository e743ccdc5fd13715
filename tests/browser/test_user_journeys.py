"""Journeys of guests and users through the shop, with and without JavaScript."""

import re
from itertools import count

import pytest
from playwright.async_api import Page, expect

from tests.support.shop_server import Shop

from .chromium import add_to_cart, log_out
from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio

PASSWORD = "a long phrase of mine"
_numbers = count(1)

with_and_without = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])


def new_address() -> str:
    return f"visitor{next(_numbers)}@example.com"


async def register(page: Page, address: str) -> None:
    await page.goto("/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()
    await expect(page).to_have_url(re.compile("/dashboard$"))


async def log_in(page: Page, address: str, *, remember: bool = False) -> None:
    await page.goto("/login")
    await page.get_by_label("Email").fill(address)
    await page.get_by_label("Password").fill(PASSWORD)
    if remember:
        await page.get_by_label("Remember me").check()
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(re.compile("/dashboard$"))


@with_and_without
async def test_guest_fills_a_cart(shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    page = await (await visit(shop, java_script_enabled=scripts)).tab()
    badge, total = page.locator(".badge"), page.locator("[data-total]")
    await add_to_cart(page, "Wireless Keyboard")
    assert page.url.endswith("/" if scripts else "/cart")  # updated in place, or redirected to the cart
    await expect(badge).to_contain_text("1")
    await add_to_cart(page, "USB-C Hub")
    await expect(badge).to_contain_text("2")

    await page.goto("/cart")
    await expect(total).to_have_text("$129.98")
    await page.get_by_role("button", name="Increase quantity: Wireless Keyboard").click()
    await expect(total).to_have_text("$209.97")
    await page.get_by_role("spinbutton", name="Quantity: USB-C Hub").fill("3")
    await page.keyboard.press("Enter")
    await expect(total).to_have_text("$309.95")
    await expect(badge).to_contain_text("5")
    await page.get_by_role("button", name="Remove: Wireless Keyboard").click()
    await expect(total).to_have_text("$149.97")
    await page.get_by_role("button", name="Decrease quantity: USB-C Hub").click()
    await expect(total).to_have_text("$99.98")
    await page.get_by_role("button", name="Clear cart").click()
    await expect(page.get_by_text("Your cart is empty.")).to_be_visible()
    await expect(badge).to_contain_text("0")


@with_and_without
async def test_flash_is_shown_once(shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    page = await (await visit(shop, java_script_enabled=scripts)).tab()
    flash = page.get_by_text("Profile updated successfully")
    await page.goto("/profile")
    await page.get_by_label("Name").fill("<b>Ann</b> {{7*7}}")
    await page.get_by_role("button", name="Save").click()
    await expect(flash).to_have_count(1)
    await expect(page.get_by_label("Name")).to_have_value("<b>Ann</b> {{7*7}}")
    await page.reload()
    await expect(flash).to_have_count(0)


@with_and_without
async def test_user_registers_logs_out_and_logs_in(shop: Shop, visit: OpenVisitor, scripts: bool) -> None:
    person = await visit(shop, java_script_enabled=scripts)
    page, address = await person.tab(), new_address()
    await add_to_cart(page, "Wireless Keyboard")
    before = await person.cookie("cart_session")
    await register(page, address)
    assert await person.cookie("cart_session") != before
    await expect(page.locator(".badge")).to_contain_text("1")  # the guest's cart is kept
    await expect(page.get_by_role("button", name="Ann")).to_be_visible()

    await log_out(page)
    await expect(page).to_have_url(re.compile("/login$"))
    await page.goto("/dashboard")
    await expect(page).to_have_url(re.compile("/login"))

    person.expected.add(401)
    await page.get_by_label("Email").fill(address)
    await page.get_by_label("Password").fill("not it")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Invalid email or password")
    await expect(page.get_by_label("Email")).to_have_value(address)
    await log_in(page, address, remember=True)

    await person.forget("cart_session")  # as after a restart of the browser
    await page.goto("/dashboard")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Ann")


async def test_user_ends_own_sessions(shop: Shop, visit: OpenVisitor) -> None:
    here, elsewhere = await visit(shop), await visit(shop)
    page, other, address = await here.tab(), await elsewhere.tab(), new_address()
    await register(page, address)
    await log_in(other, address)
    await page.goto("/dashboard")
    sessions = page.locator(".sessions > li")
    await expect(sessions).to_have_count(2)
    await page.get_by_role("button", name="Log out all other sessions").click()
    await expect(sessions).to_have_count(1)
    await other.goto("/dashboard")
    await expect(other).to_have_url(re.compile("/login"))

    await log_in(other, address)
    await page.goto("/dashboard")
    await page.get_by_label("Current password").fill(PASSWORD)
    await page.get_by_label("New password").fill("another long phrase")
    await page.get_by_role("button", name="Change password").click()
    await expect(page.get_by_text("Password changed")).to_be_visible()
    await other.reload()
    await expect(other).to_have_url(re.compile("/login"))


async def test_keyboard_only(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await page.goto("/")

    async def tab_to(name: str) -> None:
        """Press Tab until an element of this name has a visible focus."""
        for _ in range(80):
            await page.keyboard.press("Tab")
            named = await page.evaluate(
                "() => document.activeElement.ariaLabel || document.activeElement.innerText"
                " || document.activeElement.labels?.[0]?.innerText || ''"
            )
            if name in " ".join(named.split()):
                assert await page.evaluate("() => document.activeElement.matches(':focus-visible')")
                return
        raise AssertionError(f"Tab did not reach {name!r}.")

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await page.keyboard.press("Enter")
    await tab_to("Add to cart: Wireless Keyboard")
    await page.keyboard.press("Enter")
    await expect(page.locator(".badge")).to_contain_text("1")
    await page.goto("/")
    await tab_to("Cart")
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(re.compile("/cart$"))
    await tab_to("Increase quantity: Wireless Keyboard")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-total]")).to_have_text("$159.98")
    await expect(page.get_by_role("button", name="Increase quantity: Wireless Keyboard")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(page.get_by_role("spinbutton", name="Quantity: Wireless Keyboard")).to_be_focused()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("4")
    await page.keyboard.press("Enter")
    await expect(page.locator("[data-total]")).to_have_text("$319.96")
    await tab_to("Clear cart")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Your cart is empty.")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_be_focused()  # the focused button is gone


async def test_api_docs_page(file_shop: Shop, visit: OpenVisitor) -> None:
    """Swagger UI works under the content security policy."""
    page = await (await visit(file_shop)).tab()
    await page.goto("/docs")
    await page.locator(".opblock-summary-control").first.click()
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
