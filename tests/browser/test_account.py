"""The account's menu, errors of forms, sessions, and choices that outlive the session."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.support.shop_server import Shop

from .chromium import add_to_cart, log_out, violations
from .conftest import OpenVisitor
from .test_user_journeys import log_in, new_address, register

pytestmark = pytest.mark.anyio


async def test_menu(file_shop: Shop, visit: OpenVisitor) -> None:
    """On a phone the navigation takes one row; Escape closes the menu, and the focus returns."""
    page = await (await visit(file_shop, viewport={"width": 390, "height": 800})).tab()
    await page.goto("/")
    top = await page.locator(".top").bounding_box()
    assert top is not None
    assert top["height"] < 80
    await page.get_by_role("button", name="Account").click()
    menu = page.locator("#menu")
    await expect(menu.get_by_role("link")).to_have_text(["Log in", "Profile", "Preferences"])
    assert await violations(page) == []
    box = await menu.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    await page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await expect(page.get_by_role("button", name="Account")).to_be_focused()


async def test_errors_are_linked_and_focused(file_shop: Shop, visit: OpenVisitor) -> None:
    """All errors at once, a weak password included."""
    person = await visit(file_shop, java_script_enabled=False)
    person.expected.add(400)
    page = await person.tab()
    await page.goto("/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill("ann@localhost")  # valid for a browser, not for the shop
    await page.get_by_label("Password").fill("password1")
    await page.get_by_role("button", name="Create account").click()
    summary = page.get_by_role("alert")
    await expect(summary).to_be_focused()
    await expect(page).to_have_title(re.compile("^Error: "))
    await expect(summary.get_by_role("link")).to_have_count(2)
    await summary.get_by_role("link", name="too common").click()
    await expect(page.get_by_label("Password")).to_be_focused()


async def test_language_and_theme_survive_the_log_out(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await register(page, new_address())
    await page.goto("/preferences")
    await page.get_by_label("Dark").check()
    await page.get_by_label("Language").select_option(label="Deutsch")
    await page.get_by_role("button", name="Save").click()
    await log_out_in_german(page)
    html = page.locator("html")
    await expect(html).to_have_attribute("data-theme", "dark")
    await expect(html).to_have_attribute("lang", "de")
    await page.goto("/preferences")
    await expect(page.locator("[name=theme]:checked")).to_have_value("dark")


async def log_out_in_german(page: Page) -> None:
    await page.locator("[popovertarget=menu]").click()
    await page.locator("#menu").get_by_role("button").click()
    await expect(page).to_have_url(re.compile("/login$"))


async def test_sessions_on_the_dashboard(file_shop: Shop, visit: OpenVisitor) -> None:
    """Only other sessions have a button; times are those of the visitor's time zone."""
    here, elsewhere = await visit(file_shop, timezone_id="Asia/Kolkata"), await visit(file_shop)
    page, other, address = await here.tab(), await elsewhere.tab(), new_address()
    await register(page, address)
    await log_in(other, address)
    await page.goto("/dashboard")
    await expect(page.locator(".sessions li")).to_have_count(2)
    await expect(page.locator(".sessions form")).to_have_count(1)
    created = page.locator("time[data-local]").first
    shown = await created.evaluate(
        "(time) => new Date(time.dateTime).toLocaleString('en',"
        " { dateStyle: 'medium', timeStyle: 'short', timeZone: 'Asia/Kolkata' })"
    )
    await expect(created).to_have_text(shown)
    await page.goto("/login")
    await expect(page).to_have_url(re.compile("/dashboard$"))


async def test_log_out_in_another_tab(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page, other = await person.tab(), await person.tab()
    await register(page, new_address())
    await add_to_cart(page, "Wireless Keyboard")
    await other.goto("/")
    await expect(other.locator(".badge")).to_contain_text("1")
    await page.bring_to_front()
    await log_out(page)
    await other.bring_to_front()
    await expect(other.locator(".badge")).to_contain_text("0")


async def test_ended_session_of_a_remembered_user(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    page, address = await person.tab(), new_address()
    await register(page, address)
    await log_out(page)
    await log_in(page, address, remember=True)
    await add_to_cart(page, "Wireless Keyboard")
    await person.lose_session()
    await page.goto("/")
    await page.goto("/cart")
    messages = page.locator("#content").get_by_role("status")
    await expect(messages).to_have_text("Your previous session has ended; this is a new cart")
