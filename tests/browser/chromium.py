"""The system's Chromium driven by Playwright, with visitors that record console errors."""

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
from tests.support.requirements import skip_or_fail

_OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
_LOG_CSP_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
_FAILED = re.compile(r"Failed to load resource: (?:the server responded with a status of (\d+)|net::(\w+))")

TIMEOUT = 15_000  # milliseconds; an upper bound for any event on a page
expect.set_options(timeout=TIMEOUT)


def binary() -> Path:
    """Return the path of Chromium, or skip the test. The headless shell needs half the processor time."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(which, names)), None)
    if found is None:
        skip_or_fail("chromium", "Chromium is not installed: apt-get install chromium-headless-shell")
    return Path(found)


@asynccontextmanager
async def launch(*more: str) -> AsyncIterator[Browser]:
    """Run a headless browser with additional command line options."""
    options = [*_OPTIONS, *more]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary(), args=options)
        try:
            yield browser
        finally:
            async with asyncio.timeout(TIMEOUT / 1000):
                await browser.close()


class Visitor:
    """A browser profile; records the warnings and errors of its console.

    `expected` holds statuses and network errors that requests may fail with, such as 404 on a missing page.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.expected: set[int | str] = set()
        self._messages: list[str] = []

    @property
    def problems(self) -> list[str]:
        """Problems on all pages: script errors, CSP violations, failed requests."""
        return [text for text in self._messages if not self._is_expected(text)]

    def _is_expected(self, text: str) -> bool:
        failed = _FAILED.search(text)
        return failed is not None and (int(failed[1]) if failed[1] else failed[2]) in self.expected

    async def tab(self) -> Page:
        """Open a tab."""
        page = await self.context.new_page()
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._messages.append(f"{page.url}: {error}"))
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._messages.append(f"{message.type} {message.location.get('url', '')}: {message.text}")

    async def cookie(self, name: str) -> str | None:
        """Return the value of a cookie, or None."""
        values = {cookie.get("name"): cookie.get("value") for cookie in await self.context.cookies()}
        return values.get(name)

    async def lose_session(self) -> None:
        """Replace the session cookie with an unknown ID, as after the session has expired."""
        (kept,) = [one for one in await self.context.cookies() if one.get("name") == "cart_session"]
        expired = {**kept, "value": new_id()}
        await self.context.add_cookies([cast(SetCookieParam, expired)])

    async def forget(self, name: str) -> None:
        """Delete a cookie, as after a browser restart or its expiry."""
        await self.context.clear_cookies(name=name)


async def add_to_cart(page: Page, product: str) -> None:
    """Add a product of the first page to the cart and check the message."""
    await page.goto("/")
    await page.get_by_role("button", name=f"Add to cart: {product}").click()
    await expect(page.get_by_text(f"Added to cart: {product}")).to_be_visible()


async def log_out(page: Page) -> None:
    """Log out by the account's menu."""
    await page.locator("[popovertarget=menu]").click()
    await page.locator("#menu").get_by_role("button", name="Log out").click()


@asynccontextmanager
async def visitor(browser: Browser, address: str, **options: Any) -> AsyncIterator[Visitor]:
    """Yield a visitor of the shop at an address; `options` are those of a browser context."""
    context = await browser.new_context(base_url=address, **{"locale": "en-US", **options})
    await context.add_init_script(_LOG_CSP_VIOLATIONS)
    try:
        yield Visitor(context)
    finally:
        async with asyncio.timeout(TIMEOUT / 1000):
            await context.close()


async def violations(page: Page, *, exclude: str | None = None) -> list[str]:
    """Return the axe-core violations on the current page, each with its first three elements.

    `exclude` is a selector.
    """
    await page.evaluate(_AXE)
    where = {"include": [["html"]], "exclude": [[exclude]] if exclude else []}
    found = await page.evaluate("(where) => axe.run(where, {resultTypes: ['violations']})", where)
    return [
        f"{one['id']}: {one['help']}: {[node['html'] for node in one['nodes'][:3]]}"
        for one in found["violations"]
    ]
