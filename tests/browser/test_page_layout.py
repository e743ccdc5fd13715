"""Layout, languages and themes of all pages, and their accessibility by axe-core."""

import re
from http import HTTPStatus

import pytest
from playwright.async_api import Page, Route, expect

from cartapp.web.errors import error_response
from cartapp.web.middleware.security_headers import CONTENT_SECURITY_POLICY
from tests.support.shop import shop_app
from tests.support.shop_server import Shop

from .chromium import Visitor, add_to_cart, launch, violations, visitor
from .conftest import OpenVisitor

pytestmark = pytest.mark.anyio

GUEST_PAGES = (
    "/",
    "/?page=2",
    "/cart",
    "/preferences",
    "/profile",
    "/login",
    "/register",
    "/inspect",
    "/proof",
)
USER_PAGES = ("/", "/cart", "/profile", "/dashboard", "/inspect")
ERRORS = (400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503)

both_themes = pytest.mark.parametrize("theme", ["light", "dark"])


async def prefer(person: Visitor, **preferences: str | int) -> None:
    response = await person.context.request.post("/api/preferences", data=preferences)
    assert response.status == 200


async def user(person: Visitor, email: str) -> Visitor:
    """Register the visitor and log in on two devices."""
    login = {"name": "Ann Other", "email": email, "password": "a long phrase of mine"}
    await person.context.request.post("/register", data=login)
    await person.forget("cart_session")
    response = await person.context.request.post("/login", data=login)
    assert response.status == 200
    return person


async def background_lightness(page: Page) -> int:
    """Return the lightness of the page's background, from 0 to 255."""
    color: str = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) // 3


async def assert_accessible(page: Page, theme: str) -> None:
    """Check that axe-core finds no violation, and the theme."""
    assert await violations(page) == [], page.url
    assert (await background_lightness(page) < 60) == (theme == "dark"), page.url


async def assert_fits(page: Page) -> None:
    """Check that no element is wider than the page (WCAG 2.2, 1.4.10: no horizontal scrolling)."""
    assert await page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, page.url


@both_themes
async def test_guest_pages_are_accessible(file_shop: Shop, visit: OpenVisitor, theme: str) -> None:
    person = await visit(file_shop)
    await prefer(person, theme=theme, items_per_page=6)
    page = await person.tab()
    await page.goto("/cart")
    await assert_accessible(page, theme)  # an empty cart
    await add_to_cart(page, "Wireless Keyboard")
    await assert_accessible(page, theme)  # with the notice
    for path in GUEST_PAGES:
        await page.goto(path)
        await assert_accessible(page, theme)


@both_themes
async def test_user_pages_are_accessible(file_shop: Shop, visit: OpenVisitor, theme: str) -> None:
    person = await user(await visit(file_shop), f"{theme}@example.com")
    await prefer(person, theme=theme, items_per_page=6)
    page = await person.tab()
    await add_to_cart(page, "Wireless Keyboard")
    for path in USER_PAGES:
        await page.goto(path)
        await assert_accessible(page, theme)


@both_themes
async def test_api_page_is_dark_and_accessible(file_shop: Shop, visit: OpenVisitor, theme: str) -> None:
    """With the preference, and with that of the device; axe skips what Swagger UI renders."""
    person = await visit(file_shop, color_scheme=theme)
    page = await person.tab()
    for chosen in ("auto", theme):
        await prefer(person, theme=chosen)
        await page.goto("/docs")
        await page.locator(".opblock").first.wait_for()
        color: str = await page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        is_dark = color.startswith("rgb(") and max(map(int, re.findall(r"\d+", color))) < 80
        assert is_dark == (theme == "dark"), color
        assert await violations(page, exclude="#swagger-ui") == []


@pytest.mark.parametrize("width", [320, 768])
async def test_every_page_fits_its_window(file_shop: Shop, visit: OpenVisitor, width: int) -> None:
    person = await visit(file_shop, viewport={"width": width, "height": 800})
    page = await person.tab()
    await add_to_cart(page, "Wireless Keyboard")
    for path in GUEST_PAGES:
        await page.goto(path)
        await assert_fits(page)
    await user(person, f"{width}@example.com")
    for path in USER_PAGES:
        await page.goto(path)
        await assert_fits(page)


@pytest.mark.parametrize("language", ["de", "ar"])
@pytest.mark.parametrize("width", [320, 768, 1280])
async def test_long_names_and_amounts_fit(
    file_shop: Shop, visit: OpenVisitor, width: int, language: str
) -> None:
    """Long content neither overflows the window nor squeezes other content."""
    person = await visit(file_shop, viewport={"width": width, "height": 800})
    page, name = await person.tab(), "Donaudampfschifffahrt" * 9
    login = {"name": name, "email": f"{width}.{language}@example.com", "password": "a long phrase of mine"}
    await page.request.post("/register", data=login)
    await prefer(person, language=language)
    for product_id, price, quantity in ((1001, 1_000_000, 10_000), (1002, 0, 1), (1003, "239.97", 1)):
        product = {"product_id": product_id, "name": name, "price": price, "quantity": quantity}
        await page.request.post("/api/cart/add", data=product)
    for path in ("/", "/cart", "/profile", "/dashboard"):
        await page.goto(path)
        await assert_fits(page)
    await page.goto("/cart")
    for what in await page.locator(".what").all():
        box = await what.bounding_box()
        assert box is not None
        assert box["width"] > 75
    for subtotal in await page.locator(".subtotal").all():
        box = await subtotal.bounding_box()
        assert box is not None
        assert box["height"] < 40  # one line: no line break within a number


async def test_text_at_double_size_fits(file_shop: Shop) -> None:
    """With a default font size of 200 % in the browser (WCAG 2.2, 1.4.4)."""
    async with (
        launch("--blink-settings=defaultFontSize=32") as browser,
        visitor(browser, file_shop.url, viewport={"width": 390, "height": 800}) as person,
    ):
        page = await person.tab()
        await add_to_cart(page, "Wireless Keyboard")
        await prefer(person, language="de")
        for path in GUEST_PAGES:
            await page.goto(path)
            await assert_fits(page)
        await user(person, "large@example.com")
        for path in USER_PAGES:
            await page.goto(path)
            await assert_fits(page)


@both_themes
async def test_rejected_forms_are_accessible(file_shop: Shop, visit: OpenVisitor, theme: str) -> None:
    person = await visit(file_shop)
    await prefer(person, theme=theme)
    person.expected |= {400, 401}
    page = await person.tab()
    await page.goto("/login")
    await page.get_by_label("Email").fill("unknown@example.com")
    await page.get_by_label("Password").fill("not it")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await assert_accessible(page, theme)
    await page.goto("/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill("ann@example.com")
    await page.get_by_label("Password").fill("password1")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await assert_accessible(page, theme)
    await page.goto("/preferences")
    number = page.get_by_label("Products per page")
    await number.evaluate("(field) => { field.max = field.type = ''; }")
    await number.fill("1000")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await assert_accessible(page, theme)


@both_themes
async def test_error_pages_are_accessible(file_shop: Shop, visit: OpenVisitor, theme: str) -> None:
    """The error pages of the application, one for each status."""
    person = await visit(file_shop, color_scheme=theme)
    person.expected |= set(ERRORS)
    page, app = await person.tab(), shop_app()

    async def fail(route: Route) -> None:
        status = int(route.request.url.rpartition("/")[2])
        accepts = [(b"accept", b"text/html"), (b"accept-language", b"en")]
        scope = {"type": "http", "app": app, "method": "GET", "path": "/", "headers": accepts}
        response = error_response(scope, status, HTTPStatus(status).phrase)
        headers = {**response.headers, "Content-Security-Policy": CONTENT_SECURITY_POLICY}
        await route.fulfill(status=status, headers=headers, body=bytes(response.body))

    await page.route("**/error/*", fail)
    for status in ERRORS if theme == "light" else (401, 404, 503):
        await page.goto(f"/error/{status}")
        await assert_accessible(page, theme)
    await prefer(person, theme=theme)
    await page.goto("/no-such-page")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await assert_accessible(page, theme)


async def test_preferences_apply_to_all_pages(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop, color_scheme="light")
    page = await person.tab()
    await page.goto("/preferences")
    assert await background_lightness(page) > 200
    await page.get_by_label("Dark").check()
    await page.get_by_label("Products per page").fill("7")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Preferences saved")).to_be_visible()
    for path in ("/", "/cart", "/profile", "/login", "/inspect"):
        await page.goto(path)
        assert await background_lightness(page) < 60, path
    await page.goto("/")
    await expect(page.locator(".product")).to_have_count(7)


@pytest.mark.parametrize(
    ("language", "name", "direction", "price", "word"),
    [
        ("de", "Deutsch", "ltr", "79,99\N{NO-BREAK SPACE}$", "Warenkorb"),
        ("ar", "العربية", "rtl", "", "السلة"),
    ],
)
async def test_language_applies_to_all_pages(
    file_shop: Shop, visit: OpenVisitor, language: str, name: str, direction: str, price: str, word: str
) -> None:
    person = await visit(file_shop)
    page = await person.tab()
    await page.goto("/preferences")
    await page.get_by_label("Language").select_option(label=name)
    await page.get_by_role("button", name="Save").click()
    for path in ("/preferences", "/", "/cart", "/profile", "/login", "/register"):
        await page.goto(path)
        html = page.locator("html")
        await expect(html).to_have_attribute("lang", language)
        await expect(html).to_have_attribute("dir", direction)
        await expect(page.locator(".to-cart")).to_contain_text(word)
        await assert_fits(page)
    await page.goto("/")
    if price:
        await expect(page.locator(".price").first).to_have_text(price)
    brand, to_cart = (
        await page.locator(".brand").bounding_box(),
        await page.locator(".to-cart").bounding_box(),
    )
    assert brand is not None
    assert to_cart is not None
    assert (brand["x"] > to_cart["x"]) == (direction == "rtl")
    await page.locator(".product button").first.click()
    await expect(page.locator("#notices .message")).to_be_visible()
    await page.goto("/cart")
    assert await violations(page) == []


async def test_browser_language(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop, locale="de-AT")
    person.expected.add(404)
    page = await person.tab()
    for path in ("/", "/no-such-page"):
        await page.goto(path)
        await expect(page.locator("html")).to_have_attribute("lang", re.compile("^de"))
