"""A walk through the shop in Firefox, if it is installed."""

from pathlib import Path

import pytest

from tests.support.shop_server import Shop

from .firefox import firefox_page

pytestmark = pytest.mark.anyio


async def test_firefox_visitor_shops(file_shop: Shop, tmp_path: Path) -> None:
    async with firefox_page(tmp_path) as page:
        await page.goto(f"{file_shop.url}/")
        await page.click("[data-card='1'] button")
        await page.wait("document.querySelector('.badge').innerText.startsWith('1')")
        await page.wait("!document.querySelector('#quantity-1').closest('.stepper').hidden")
        await page.click("[popovertarget=menu]")
        await page.wait("document.querySelector('#menu').matches(':popover-open')")
        await page.goto(f"{file_shop.url}/cart")
        for _ in range(3):
            await page.click("#more-1")
        await page.wait("document.querySelector('[data-total]').innerText === '$319.96'")
        await page.click("#remove-1")
        await page.wait("document.querySelector('.empty') && document.querySelector('#notices form')")
        await page.click("#notices form button")
        await page.wait("document.querySelector('#quantity-1')?.value === '4'")
        await page.click("[popovertarget=order]")
        await page.wait("document.querySelector('#order').matches(':popover-open')")
        await page.goto(f"{file_shop.url}/proof")
        await page.click("#send")
        await page.wait("document.querySelectorAll('#layer .once').length === 200")
        await page.wait("document.querySelector('#plain .verdict.lost')")  # leaving would abort requests
        await page.goto(f"{file_shop.url}/docs")
        await page.wait("document.querySelector('.opblock')")
        assert page.errors == []
