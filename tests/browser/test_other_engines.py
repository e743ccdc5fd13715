"""A walk through the shop in Firefox and in WebKit, if they are installed."""

from pathlib import Path
from typing import Protocol

import pytest

from tests.support.shop_server import Shop

from .firefox import firefox_page
from .webkit import webkit_page

pytestmark = pytest.mark.anyio


class Tab(Protocol):
    """What the walk needs of a browser."""

    async def goto(self, url: str) -> None: ...
    async def click(self, selector: str) -> None: ...
    async def wait(self, condition: str) -> None: ...


async def walk(page: Tab, url: str) -> None:
    """Fill and change the cart, undo, and open the order."""
    await page.goto(f"{url}/")
    await page.click("[data-card='1'] button")
    await page.wait("document.querySelector('.badge').innerText.startsWith('1')")
    await page.wait("!document.querySelector('#quantity-1').closest('.stepper').hidden")
    await page.click("[popovertarget=menu]")
    await page.wait("document.querySelector('#menu').matches(':popover-open')")
    await page.goto(f"{url}/cart")
    for _ in range(3):
        await page.click("#more-1")
    await page.wait("document.querySelector('[data-total]').innerText === '$319.96'")
    await page.click("#remove-1")
    await page.wait("document.querySelector('.empty') && document.querySelector('#notices form')")
    await page.click("#notices form button")
    await page.wait("document.querySelector('#quantity-1')?.value === '4'")
    await page.click("[popovertarget=order]")
    await page.wait("document.querySelector('#order').matches(':popover-open')")


async def walk_developer_pages(page: Tab, url: str) -> None:
    """Run the proof of concurrency and open the API page."""
    await page.goto(f"{url}/proof")
    await page.click("#send")
    await page.wait("document.querySelectorAll('#layer .once').length === 200")
    await page.wait("document.querySelector('#plain .verdict.lost')")  # leaving would abort requests
    await page.goto(f"{url}/docs")
    await page.wait("document.querySelector('.opblock')")


async def test_firefox_visitor_shops(file_shop: Shop, tmp_path: Path) -> None:
    async with firefox_page(tmp_path) as page:
        await walk(page, file_shop.url)
        await walk_developer_pages(page, file_shop.url)
        assert page.errors == []


async def test_webkit_visitor_shops(file_shop: Shop, tmp_path: Path) -> None:
    async with webkit_page(tmp_path) as page:
        await walk(page, file_shop.url)
