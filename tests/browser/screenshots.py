"""The pictures in docs/screenshots: `make screenshots` takes them anew.

Each page of the shop as a telephone and as a desk shows it; the start page also in the dark and in Arabic.
"""

import asyncio
import base64
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.running import ROOT, Shop, running_shop

from .chromium import Visitor, launched, put_into_cart, visitor

FOLDER = ROOT / "docs" / "screenshots"
QUALITY = 80  # of 100, as WebP
WIDTHS = {390: 2, 1280: 1}
"""Of the window in CSS pixels, with the device's pixels for each of them."""

ANN = {"name": "Ann Weber", "email": "ann@example.com", "password": "a long phrase of mine"}
CART = ("Wireless Keyboard", "USB-C Hub")


async def nothing(_person: Visitor, _page: Page) -> None:
    """A new visitor."""


async def shopping(_person: Visitor, page: Page) -> None:
    for product in CART:
        await put_into_cart(page, product)
    await page.request.put("/api/cart/2", data={"quantity": 2})


async def logged_in(person: Visitor, page: Page) -> None:
    for way in ("/register", "/login"):  # of which one is refused
        await person.context.request.post(way, data=ANN)
    await shopping(person, page)


async def renamed(person: Visitor, page: Page) -> None:
    await shopping(person, page)
    await page.goto("/profile")
    await page.get_by_label("Name").fill("Ann Weber")
    await page.get_by_role("button", name="Save").click()


def preferring(**preferences: str) -> Callable[[Visitor, Page], Awaitable[None]]:
    async def prepare(person: Visitor, page: Page) -> None:
        await person.context.request.post("/api/preferences", data={"items_per_page": 8, **preferences})
        await page.request.post("/api/cart/add", data={"product_id": 1, "name": "Keyboard", "price": "79.99"})

    return prepare


PAGES: dict[str, tuple[str, Callable[[Visitor, Page], Awaitable[None]]]] = {
    "start": ("/", preferring()),
    "start-dark": ("/", preferring(theme="dark")),
    "start-arabic": ("/", preferring(language="ar")),
    "cart": ("/cart", shopping),
    "cart-empty": ("/cart", nothing),
    "preferences": ("/preferences", nothing),
    "profile": ("", renamed),
    "login": ("/login", nothing),
    "register": ("/register", nothing),
    "dashboard": ("/dashboard", logged_in),
    "not-found": ("/no-such-page", nothing),
    "inspect": ("/inspect", logged_in),
    "api": ("/docs", nothing),
}
"""For each picture the path, or none to stay, and what happens before."""


async def take(browser: Browser, shop: Shop, name: str, width: int) -> Path:
    """One picture, of the whole page."""
    path, prepare = PAGES[name]
    size = {"width": width, "height": 800}
    options = {"viewport": size, "device_scale_factor": WIDTHS[width], "reduced_motion": "reduce"}
    async with visitor(browser, shop.url, **options) as person:
        page = await person.tab()
        await prepare(person, page)
        if path:
            await page.goto(path, wait_until="networkidle")
        await page.evaluate("() => { for (const one of document.images) one.loading = 'eager'; }")
        await page.wait_for_function("() => [...document.images].every((one) => one.complete)")
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


async def main() -> None:
    """Take all pictures."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_shop(Path(folder), {"CART_LOGIN_LIMIT": "1000/minute"}, workers=1) as shop,
    ):
        async with launched() as browser:
            for name in PAGES:
                for width in WIDTHS:
                    file = await take(browser, shop, name, width)
                    print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    asyncio.run(main())
