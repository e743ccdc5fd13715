"""How it looks and reads: preferences at once everywhere, and no page on which axe-core finds anything."""

import re
from http import HTTPStatus

import pytest
from playwright.async_api import Page, Route, expect

from cartapp.web.errors import error_response
from cartapp.web.layers.security_headers import CONTENT_SECURITY_POLICY
from tests.running import Shop
from tests.shop import shop_app

from .chromium import Visitor, launched, put_into_cart, violations, visitor
from .conftest import Come

pytestmark = pytest.mark.anyio

OF_GUESTS = ("/", "/?page=2", "/cart", "/preferences", "/profile", "/login", "/register", "/inspect")
OF_USERS = ("/", "/cart", "/profile", "/dashboard", "/inspect")
ERRORS = (400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503)

both_themes = pytest.mark.parametrize("theme", ["light", "dark"])


async def prefer(person: Visitor, **preferences: str | int) -> None:
    answer = await person.context.request.post("/api/preferences", data=preferences)
    assert answer.status == 200


async def user(person: Visitor, email: str) -> Visitor:
    """The visitor, as a user who is logged in on two devices."""
    login = {"name": "Ann Other", "email": email, "password": "a long phrase of mine"}
    await person.context.request.post("/register", data=login)
    await person.forget("cart_session")
    answer = await person.context.request.post("/login", data=login)
    assert answer.status == 200
    return person


async def ground(page: Page) -> int:
    """How light the page's ground is, from 0 to 255."""
    color: str = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", color)[:3]) // 3


async def assert_fine(page: Page, theme: str) -> None:
    """Nothing for axe-core to find."""
    assert await violations(page) == [], page.url
    assert (await ground(page) < 60) == (theme == "dark"), page.url


async def assert_fits(page: Page) -> None:
    """Nothing is wider than the page, so nobody has to scroll sideways (WCAG 2.2, 1.4.10)."""
    assert await page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0, page.url


@both_themes
async def test_a_guests_pages(file_shop: Shop, visit: Come, theme: str) -> None:
    person = await visit(file_shop)
    await prefer(person, theme=theme, items_per_page=6)
    page = await person.tab()
    await page.goto("/cart")
    await assert_fine(page, theme)  # while it is empty
    await put_into_cart(page, "Wireless Keyboard")
    await assert_fine(page, theme)  # with the notice
    for path in OF_GUESTS:
        await page.goto(path)
        await assert_fine(page, theme)


@both_themes
async def test_a_users_pages(file_shop: Shop, visit: Come, theme: str) -> None:
    person = await user(await visit(file_shop), f"{theme}@example.com")
    await prefer(person, theme=theme, items_per_page=6)
    page = await person.tab()
    await put_into_cart(page, "Wireless Keyboard")
    for path in OF_USERS:
        await page.goto(path)
        await assert_fine(page, theme)


@pytest.mark.parametrize("width", [320, 768])
async def test_every_page_fits_its_window(file_shop: Shop, visit: Come, width: int) -> None:
    person = await visit(file_shop, viewport={"width": width, "height": 800})
    page = await person.tab()
    await put_into_cart(page, "Wireless Keyboard")
    for path in OF_GUESTS:
        await page.goto(path)
        await assert_fits(page)
    await user(person, f"{width}@example.com")
    for path in OF_USERS:
        await page.goto(path)
        await assert_fits(page)


@pytest.mark.parametrize("language", ["de", "ar"])
@pytest.mark.parametrize("width", [320, 768, 1280])
async def test_long_names_and_sums(file_shop: Shop, visit: Come, width: int, language: str) -> None:
    """They push nothing aside: neither out of the window nor each other into nothing."""
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
        assert box["height"] < 40  # one line: no number is broken


async def test_text_twice_as_large(file_shop: Shop) -> None:
    """As somebody has it who has told the browser to write larger (WCAG 2.2, 1.4.4)."""
    async with (
        launched("--blink-settings=defaultFontSize=32") as browser,
        visitor(browser, file_shop.url, viewport={"width": 390, "height": 800}) as person,
    ):
        page = await person.tab()
        await put_into_cart(page, "Wireless Keyboard")
        await prefer(person, language="de")
        for path in OF_GUESTS:
            await page.goto(path)
            await assert_fits(page)
        await user(person, "large@example.com")
        for path in OF_USERS:
            await page.goto(path)
            await assert_fits(page)


@both_themes
async def test_forms_that_are_shown_again(file_shop: Shop, visit: Come, theme: str) -> None:
    person = await visit(file_shop)
    await prefer(person, theme=theme)
    person.expected |= {400, 401}
    page = await person.tab()
    await page.goto("/login")
    await page.get_by_label("Email").fill("nobody@example.com")
    await page.get_by_label("Password").fill("not it")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await assert_fine(page, theme)
    await page.goto("/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill("ann@example.com")
    await page.get_by_label("Password").fill("password1")
    await page.get_by_role("button", name="Create account").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await assert_fine(page, theme)
    await page.goto("/preferences")
    number = page.get_by_label("Products on a page")
    await number.evaluate("(field) => { field.max = field.type = ''; }")
    await number.fill("1000")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await assert_fine(page, theme)


@both_themes
async def test_pages_that_say_what_went_wrong(file_shop: Shop, visit: Come, theme: str) -> None:
    """As the application writes them, each with its status."""
    person = await visit(file_shop, color_scheme=theme)
    person.expected |= set(ERRORS)
    page, app = await person.tab(), shop_app()

    async def fail(route: Route) -> None:
        status = int(route.request.url.rpartition("/")[2])
        accepts = [(b"accept", b"text/html"), (b"accept-language", b"en")]
        scope = {"type": "http", "app": app, "method": "GET", "path": "/", "headers": accepts}
        answer = error_response(scope, status, HTTPStatus(status).phrase)
        headers = {**answer.headers, "Content-Security-Policy": CONTENT_SECURITY_POLICY}
        await route.fulfill(status=status, headers=headers, body=bytes(answer.body))

    await page.route("**/error/*", fail)
    for status in ERRORS if theme == "light" else (401, 404, 503):
        await page.goto(f"/error/{status}")
        await assert_fine(page, theme)
    await prefer(person, theme=theme)
    await page.goto("/no-such-page")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    await assert_fine(page, theme)


async def test_preferences_take_effect_at_once_everywhere(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop, color_scheme="light")
    page = await person.tab()
    await page.goto("/preferences")
    assert await ground(page) > 200
    await page.get_by_label("Dark").check()
    await page.get_by_label("Products on a page").fill("7")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Preferences saved")).to_be_visible()
    for path in ("/", "/cart", "/profile", "/login", "/inspect"):
        await page.goto(path)
        assert await ground(page) < 60, path
    await page.goto("/")
    await expect(page.locator(".product")).to_have_count(7)


@pytest.mark.parametrize(
    ("language", "name", "direction", "price", "word"),
    [
        ("de", "Deutsch", "ltr", "79,99\N{NO-BREAK SPACE}$", "Warenkorb"),
        ("ar", "العربية", "rtl", "", "السلة"),
    ],
)
async def test_a_language_everywhere(
    file_shop: Shop, visit: Come, language: str, name: str, direction: str, price: str, word: str
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


async def test_the_browsers_language(file_shop: Shop, visit: Come) -> None:
    person = await visit(file_shop, locale="de-AT")
    person.expected.add(404)
    page = await person.tab()
    for path in ("/", "/no-such-page"):
        await page.goto(path)
        await expect(page.locator("html")).to_have_attribute("lang", re.compile("^de"))
