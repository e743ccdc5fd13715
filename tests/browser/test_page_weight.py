"""The scripts of the pages: plain JavaScript, small enough to be read."""

import pytest

from tests.support.shop_server import Shop

from .chromium import add_to_cart
from .conftest import OpenVisitor
from .test_user_journeys import new_address, register

pytestmark = pytest.mark.anyio

LIMIT = 12 * 1024
"""Bytes, uncompressed, of all scripts of one page; that of the strip, in development only, does not count."""

PAGES = (
    "/",
    "/products/1",
    "/cart",
    "/preferences",
    "/profile",
    "/login",
    "/register",
    "/dashboard",
    "/none",
)

_SCRIPTS = """
() => performance.getEntriesByType("resource")
    .filter(({ name }) => /\\.js\\b/.test(name) && !name.includes("/strip.js"))
    .map(({ name, decodedBodySize }) => [new URL(name).pathname, decodedBodySize])
"""


async def test_scripts_of_each_page_are_small(file_shop: Shop, visit: OpenVisitor) -> None:
    person = await visit(file_shop)
    person.expected.add(404)
    page = await person.tab()
    await add_to_cart(page, "Wireless Keyboard")
    for is_user in (False, True):
        if is_user:
            await register(page, new_address())
        for path in PAGES:
            await page.goto(path)
            scripts: dict[str, int] = dict(await page.evaluate(_SCRIPTS))
            assert "/static/shop.js" in scripts, path
            assert sum(scripts.values()) < LIMIT, (path, scripts)
