"""A real browser: the system's Chromium, driven by Playwright, and visitors who watch for mistakes."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from shutil import which
from typing import Any, cast

from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from cartapp.session.record import new_id
from tests.needs import unmet

_OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
_TELL_OF_CSP = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
_FAILED = re.compile(r"Failed to load resource: (?:the server responded with a status of (\d+)|net::(\w+))")

PATIENCE = 15_000  # milliseconds for anything to happen on a page; mostly it takes a few
expect.set_options(timeout=PATIENCE)


def binary() -> Path:
    """The path of Chromium; without one the test ends here."""
    found = which("chromium") or which("chromium-browser") or which("google-chrome")
    if found is None:
        unmet("chromium", "Chromium is not installed: apt-get install chromium")
    return Path(found)


@asynccontextmanager
async def launched(*more: str) -> AsyncIterator[Browser]:
    """A browser without a window, with these options of its command line on top."""
    options = [*_OPTIONS, *more]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary(), args=options)
        try:
            yield browser
        finally:
            async with asyncio.timeout(PATIENCE / 1000):
                await browser.close()


class Visitor:
    """Somebody with a browser profile of their own; notes everything that a developer's console would show.

    What a request fails with may be expected, a status or a network error: a page that says 404 is meant to.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.expected: set[int | str] = set()
        self._noted: list[str] = []

    @property
    def problems(self) -> list[str]:
        """What went wrong on any page: script errors, refusals by the CSP, requests that failed."""
        return [text for text in self._noted if not self._is_expected(text)]

    def _is_expected(self, text: str) -> bool:
        failed = _FAILED.search(text)
        return failed is not None and (int(failed[1]) if failed[1] else failed[2]) in self.expected

    async def tab(self) -> Page:
        """One more tab."""
        page = await self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._noted.append(f"{page.url}: {error}"))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._noted.append(f"{message.type} {message.location.get('url', '')}: {message.text}")

    async def cookie(self, name: str) -> str | None:
        """The value of a cookie."""
        values = {cookie.get("name"): cookie.get("value") for cookie in await self.context.cookies()}
        return values.get(name)

    async def lose_session(self) -> None:
        """Let the session expire: the browser keeps a cookie that the server knows nothing of any more."""
        (kept,) = [one for one in await self.context.cookies() if one.get("name") == "cart_session"]
        expired = {**kept, "value": new_id()}
        await self.context.add_cookies([cast(SetCookieParam, expired)])

    async def forget(self, name: str) -> None:
        """Lose a cookie, as on a restart of the browser or when it has expired."""
        await self.context.clear_cookies(name=name)


async def put_into_cart(page: Page, product: str) -> None:
    """Put a product of the first page into the cart, and see that it is there."""
    await page.goto("/")
    await page.get_by_role("button", name=f"Add to cart: {product}").click()
    await expect(page.get_by_text(f"Added to your cart: {product}")).to_be_visible()


@asynccontextmanager
async def visitor(browser: Browser, address: str, **options: Any) -> AsyncIterator[Visitor]:
    """A visitor of the shop at an address; `options` are those of a browser context."""
    context = await browser.new_context(base_url=address, **{"locale": "en-US", **options})
    await context.add_init_script(_TELL_OF_CSP)
    try:
        yield Visitor(context)
    finally:
        async with asyncio.timeout(PATIENCE / 1000):
            await context.close()


async def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it stands, with the first places."""
    await page.evaluate(_AXE)
    found = await page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}"
        for one in found["violations"]
    ]
