"""Details of the pages: the notice, taps, alignment, pictures, the theme of error pages."""

import re

import pytest
from playwright.async_api import expect

from tests.support.servers.redis import RedisServer
from tests.support.shop_server import Shop

from .chromium import add_to_cart
from .conftest import OpenVisitor
from .test_cart_gestures import button
from .test_page_layout import background_lightness, prefer
from .test_user_journeys import new_address, register

pytestmark = pytest.mark.anyio

KEYBOARD = "Wireless Keyboard"


async def test_notice_is_closed_by_escape_and_by_its_button(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    notice = page.locator("#notices")
    await add_to_cart(page, KEYBOARD)
    await expect(notice.get_by_role("link", name="View cart")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(notice).to_have_text(re.compile(r"^\s*$"), use_inner_text=True)
    await add_to_cart(page, "USB-C Hub")
    await notice.get_by_role("button", name="Close").click()
    await expect(notice).to_have_text(re.compile(r"^\s*$"), use_inner_text=True)


@pytest.mark.parametrize("path", ["/cart", "/"])
@pytest.mark.parametrize(("name", "key"), [("Undo", "Enter"), ("Undo", "Escape"), ("Close", "Enter")])
async def test_focus_leaves_the_notice_for_the_page(
    file_shop: Shop, visit: OpenVisitor, path: str, name: str, key: str
) -> None:
    """To the control that was used before, not to the start of the page."""
    page = await (await visit(file_shop)).tab()
    for product in (KEYBOARD, "USB-C Hub"):
        await add_to_cart(page, product)
    await page.goto(path)
    if path == "/":
        await page.get_by_role("spinbutton", name="Quantity: USB-C Hub").fill("0")
        await page.keyboard.press("Enter")
    else:
        await button(page, "Remove: USB-C Hub").press("Enter")
    await page.locator("#notices").get_by_role("button", name=name).press(key)
    await expect(page.get_by_text("Removed: USB-C Hub")).to_have_count(0)
    await expect(page.locator("#content :focus")).to_have_count(1)


async def test_notice_on_the_cart_page_has_no_link_to_it(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await add_to_cart(page, KEYBOARD)
    await page.goto("/cart")
    await button(page, f"Remove: {KEYBOARD}").click()
    await expect(button(page, "Undo")).to_be_visible()
    await expect(page.get_by_role("link", name="View cart")).to_be_hidden()


async def test_notice_lets_clicks_through(file_shop: Shop, visit: OpenVisitor) -> None:
    """Except at its own controls."""
    page = await (await visit(file_shop, viewport={"width": 390, "height": 800})).tab()
    await add_to_cart(page, KEYBOARD)
    link = page.locator(".product h2 a").nth(6)
    name = await link.inner_text()
    await link.evaluate(
        "(link) => scrollBy(0, link.getBoundingClientRect().y"
        " - document.querySelector('#notices .message').getBoundingClientRect().y)"
    )
    place = await link.bounding_box()
    assert place is not None
    await page.mouse.click(place["x"] + 15, place["y"] + 5)
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)


async def test_tap_leaves_no_hover_style(file_shop: Shop, visit: OpenVisitor) -> None:
    options = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 800}}
    page = await (await visit(file_shop, **options)).tab()
    await page.goto("/cart")
    color = "(one) => getComputedStyle(one).backgroundColor"
    await page.goto("/login")
    for name in ("Account", "Log in"):
        tapped = page.get_by_role("button", name=name)
        before = await tapped.evaluate(color)
        await tapped.tap()
        assert await tapped.evaluate("(one) => one.matches(':hover')")
        await tapped.evaluate("(one) => Promise.all(one.getAnimations().map((each) => each.finished))")
        assert await tapped.evaluate(color) == before


@pytest.mark.parametrize("width", [390, 1280, 1920])
async def test_forms_are_centered_and_the_footer_has_the_width_of_the_content(
    file_shop: Shop, visit: OpenVisitor, width: int
) -> None:
    page = await (await visit(file_shop, viewport={"width": width, "height": 800})).tab()
    await page.goto("/login")
    panel, footer = [await page.locator(one).bounding_box() for one in (".panel", "footer")]
    top = await page.locator(".brand").bounding_box()
    assert panel is not None
    assert footer is not None
    assert top is not None
    visible: int = await page.evaluate("() => document.documentElement.clientWidth")
    assert abs(panel["x"] * 2 + panel["width"] - visible) <= 1
    assert abs(footer["x"] - top["x"]) <= 1


async def test_visible_pictures_load_at_once(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop, viewport={"width": 1280, "height": 800})
    await prefer(person, items_per_page=36)
    page = await person.tab()
    await page.goto("/")
    pictures: list[list[bool]] = await page.locator(".product img").evaluate_all(
        "(all) => all.map((one) => [one.getBoundingClientRect().y < innerHeight, one.loading === 'lazy'])"
    )
    assert pictures[0] == [True, False]
    assert [True, True] not in pictures
    assert pictures[-1] == [False, True]


async def test_error_page_during_an_outage_keeps_theme_and_language(
    redis_server: RedisServer, redis_shop: Shop, visit: OpenVisitor
) -> None:
    """Also of a visitor with preferences of an account."""
    person = await visit(redis_shop)
    person.expected.add(503)
    page = await person.tab()
    await register(page, new_address())
    await page.goto("/preferences")
    await page.get_by_label("Dark").check()
    await page.get_by_label("Language").select_option(label="Deutsch")
    await page.locator("main form button").click()
    await expect(page.locator("html")).to_have_attribute("lang", "de")
    redis_server.server.pause()
    try:
        await page.goto("/cart")
        await expect(page.locator("main")).to_have_attribute("data-page", "error")
        await expect(page.locator("html")).to_have_attribute("lang", "de")
        assert await background_lightness(page) < 60
    finally:
        redis_server.server.resume()


async def test_attributes_without_a_value(file_shop: Shop, visit: OpenVisitor) -> None:
    """`required` and the like are empty, as the HTML standard has it; `True` is a slip of a template."""
    page = await (await visit(file_shop)).tab()
    for path in ("/", "/cart", "/login", "/register", "/profile", "/preferences"):
        html = await (await page.request.get(path, headers={"Accept": "text/html"})).text()
        assert re.findall(r'\b\w+="(?:True|False|None)"', html) == []


async def test_api_page_leads_home(file_shop: Shop, visit: OpenVisitor) -> None:
    page = await (await visit(file_shop)).tab()
    await page.goto("/docs")
    await page.get_by_role("link", name="cartapp", exact=True).click()
    await expect(page.locator("main")).to_have_attribute("data-page", "shop")
