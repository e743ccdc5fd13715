"""Take the pictures in docs/screenshots, for `make screenshots`.

Each page in a phone's and in a desktop's width; the start page also in the dark theme and in Arabic.
"""

import asyncio
import base64
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.support.shop_server import ROOT, Shop, running_shop

from .chromium import Visitor, add_to_cart, launch, visitor

FOLDER = ROOT / "docs" / "screenshots"
_STRIP_AT_THE_END = (
    "() => { for (const one of document.querySelectorAll('aside')) one.style.position = 'static'; }"
)
QUALITY = 80  # of 100, as WebP
WIDTHS = {390: 2, 1280: 1}
"""Window widths in CSS pixels, with the number of device pixels for each."""

ANN = {"name": "Ann Weber", "email": "ann@example.com", "password": "a long phrase of mine"}
CART = ("Wireless Keyboard", "USB-C Hub")


async def do_nothing(_person: Visitor, _page: Page) -> None:
    """A new visitor."""


async def fill_cart(_person: Visitor, page: Page) -> None:
    for product in CART:
        await add_to_cart(page, product)
    await page.request.put("/api/cart/2", data={"quantity": 2})


async def log_in(person: Visitor, page: Page) -> None:
    for way in ("/register", "/login"):  # one of the two fails
        await person.context.request.post(way, data=ANN)
    await fill_cart(person, page)


async def change_name(person: Visitor, page: Page) -> None:
    await fill_cart(person, page)
    await page.goto("/profile")
    await page.get_by_label("Name").fill("Ann Weber")
    await page.get_by_role("button", name="Save").click()


def set_preferences(**preferences: str) -> Callable[[Visitor, Page], Awaitable[None]]:
    async def prepare(person: Visitor, page: Page) -> None:
        await person.context.request.post("/api/preferences", data={"items_per_page": 8, **preferences})
        await page.request.post("/api/cart/add", data={"product_id": 1, "name": "Keyboard", "price": "79.99"})

    return prepare


async def send_requests(_person: Visitor, page: Page) -> None:
    await page.goto("/proof")
    await page.get_by_role("button", name="Send 200 concurrent requests").click()
    await page.locator("#plain .verdict.lost").wait_for()
    await page.get_by_role("button", name="Log out while writing").click()
    await page.locator("#plain .steps .lost").wait_for()


async def open_order(person: Visitor, page: Page) -> None:
    await fill_cart(person, page)
    await page.goto("/cart")
    await page.get_by_role("button", name="Check out").click()


async def submit_incomplete(_person: Visitor, page: Page) -> None:
    await page.goto("/register")
    await page.locator("main form").evaluate("(form) => { form.noValidate = true; }")
    await page.get_by_label("Email").fill("ann@localhost")
    await page.get_by_label("Password").fill("password1")
    await page.get_by_role("button", name="Create account").click()
    await page.get_by_role("alert").wait_for()


PAGES: dict[str, tuple[str, Callable[[Visitor, Page], Awaitable[None]]]] = {
    "start": ("/", set_preferences()),
    "start-dark": ("/", set_preferences(theme="dark")),
    "start-arabic": ("/", set_preferences(language="ar")),
    "product": ("/products/1", fill_cart),
    "cart": ("/cart", fill_cart),
    "order": ("", open_order),
    "cart-empty": ("/cart", do_nothing),
    "preferences": ("/preferences", do_nothing),
    "profile": ("", change_name),
    "login": ("/login", do_nothing),
    "register": ("/register", do_nothing),
    "register-errors": ("", submit_incomplete),
    "dashboard": ("/dashboard", log_in),
    "not-found": ("/no-such-page", do_nothing),
    "proof": ("", send_requests),
    "inspect": ("/inspect", log_in),
    "api": ("/docs", do_nothing),
}
"""Path of each picture (empty: the current page) and the steps before it."""


FILM = (
    "() => document.querySelectorAll('#layer .once').length > 60",
    "() => document.querySelectorAll('#plain .repeated').length > 3",
    "() => document.querySelector('#plain .verdict.lost')",
)
"""What the page shows at each picture of the film."""


async def take(browser: Browser, shop: Shop, name: str, width: int) -> Path:
    """Take one picture of the whole page."""
    path, prepare = PAGES[name]
    size = {"width": width, "height": 800}
    options = {"viewport": size, "device_scale_factor": WIDTHS[width], "reduced_motion": "reduce"}
    async with visitor(browser, shop.url, **options) as person:
        page = await person.tab()
        await prepare(person, page)
        if path:
            await page.goto(path, wait_until="networkidle")
        if name == "api":
            await page.locator(".opblock").first.wait_for()
        await page.evaluate("() => { for (const one of document.images) one.loading = 'eager'; }")
        await page.wait_for_function("() => [...document.images].every((one) => one.complete)")
        await page.evaluate(_STRIP_AT_THE_END)
        devtools = await person.context.new_cdp_session(page)
        height = await page.evaluate("() => Math.min(document.documentElement.scrollHeight, 2600)")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        taken = await devtools.send(
            "Page.captureScreenshot",
            {"format": "webp", "quality": QUALITY, "captureBeyondViewport": True, "clip": clip},
        )
        file = FOLDER / f"{name}-{width}.webp"
        file.write_bytes(base64.b64decode(taken["data"]))
        return file


async def take_film(browser: Browser, shop: Shop) -> None:
    """Take the row of pictures in the README: 200 requests on each of the two sessions."""
    async with visitor(browser, shop.url, viewport={"width": 1280, "height": 800}) as person:
        page = await person.tab()
        devtools = await person.context.new_cdp_session(page)
        await page.goto("/proof")
        await page.evaluate(_STRIP_AT_THE_END)
        box = await page.locator(".sides").bounding_box()
        assert box is not None
        await page.get_by_role("button", name="Send 200 concurrent requests").click()
        for number, condition in enumerate(FILM, 1):
            await page.wait_for_function(condition)
            options = {
                "format": "webp",
                "quality": QUALITY,
                "clip": {**box, "height": box["height"] + 24, "scale": 0.6},
            }
            taken = await devtools.send("Page.captureScreenshot", options)
            (FOLDER / f"proof-film-{number}.webp").write_bytes(base64.b64decode(taken["data"]))


async def main() -> None:
    """Take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_shop(Path(folder), {"CART_LOGIN_LIMIT": "1000/minute"}, workers=1) as shop,
    ):
        async with launch() as browser:
            await take_film(browser, shop)
            for name in PAGES:
                for width in WIDTHS:
                    file = await take(browser, shop, name, width)
                    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    asyncio.run(main())
