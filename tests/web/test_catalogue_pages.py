"""Search, categories, sort order and product pages, without JavaScript."""

import json
import re
from collections.abc import AsyncIterator
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.shop import shop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        client.headers["Accept"] = "text/html"
        yield client


def products(page: httpx.Response) -> list[str]:
    assert page.status_code == 200
    return re.findall(r'<h2><a href="/products/\d+">(.*?)</a>', page.text)


async def test_search(client: httpx.AsyncClient) -> None:
    found = await client.get("/", params={"q": " wireless "})
    assert products(found) == ["Wireless Keyboard", "Wireless Mouse"]
    assert 'value="wireless"' in found.text
    none = await client.get("/", params={"q": '"><script>'})
    assert products(none) == []
    assert "No products match." in none.text
    assert "<script>" not in none.text.replace("<script type", "")


async def test_search_in_translations(client: httpx.AsyncClient) -> None:
    found = await client.get("/", params={"q": "tastatur"}, headers={"Accept-Language": "de"})
    assert len(products(found)) == 1
    assert "/products/1" in found.text


async def test_category_and_order(client: httpx.AsyncClient) -> None:
    page = await client.get("/", params={"category": "Audio", "sort": "-price"})
    assert products(page) == ["USB Microphone", "Headset", "Bluetooth Speaker"]
    links = [unescape(link) for link in re.findall(r'href="(/\?[^"]*)"', page.text)]
    assert "/?category=Audio&sort=price" in links
    assert "/?category=Power+and+cables&sort=-price" in links
    assert "/?sort=-price" in links


@pytest.mark.parametrize("query", [{"sort": "name"}, {"page": "x"}, {"q": "\0"}, {"category": ""}])
async def test_invalid_parameters_count_as_missing(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert len(products(await client.get("/", params=query))) == 20


async def test_pages_keep_the_query(client: httpx.AsyncClient) -> None:
    await client.post("/preferences", data={"items_per_page": "2"})
    page = await client.get("/", params={"q": "usb", "page": "2"})
    assert 'rel="prev" href="/?q=usb"' in page.text
    assert 'rel="next" href="/?q=usb&amp;page=3"' in page.text


async def test_product_page(client: httpx.AsyncClient) -> None:
    page = await client.get("/products/2")
    assert "<h1>USB-C Hub</h1>" in page.text
    assert 'href="/?category=Devices"' in page.text
    for missing in ("999", "0", "x"):
        assert (await client.get(f"/products/{missing}")).status_code == 404


async def test_products_in_the_cart_have_a_stepper(client: httpx.AsyncClient) -> None:
    await client.post("/cart/add", data={"product_id": "2", "quantity": "3"})
    for path in ("/", "/products/2"):
        page = (await client.get(path)).text
        assert re.search(r'action="/cart/add" data-in-place data-card="2" hidden', page)
        assert re.search(r'id="quantity-2" [^>]* value="3"', page)
    await client.post("/cart/2", data={"quantity": "4"})
    assert re.search(r'id="quantity-2" [^>]* value="4"', (await client.get("/")).text)


async def test_the_cart_ends_with_the_order(client: httpx.AsyncClient) -> None:
    assert 'popovertarget="order"' not in (await client.get("/cart")).text
    await client.post("/cart/add", data={"product_id": "2", "quantity": "3"})
    assert await shown_order(client) == {
        "currency": "USD",
        "amount": 14997,
        "items": [{"product_id": 2, "description": "USB-C Hub", "unit_amount": 4999, "quantity": 3}],
    }


async def test_an_order_of_many_items_is_complete(client: httpx.AsyncClient) -> None:
    for number in range(25):
        item = {"product_id": 1000 + number, "name": f"{{\n    {{ {number}", "price": 1, "quantity": 2}
        await client.post("/api/cart/add", json=item)
    order = await shown_order(client)
    assert [item["product_id"] for item in order["items"]] == [1000 + number for number in range(25)]
    assert order["amount"] == 5000


async def shown_order(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return the order at the end of the cart; it is shown in several elements."""
    (shown,) = re.findall(r"<pre[^>]*>(.*?)</pre>", (await client.get("/cart")).text, re.DOTALL)
    order: dict[str, Any] = json.loads(unescape(re.sub(r"</?code>", "", shown)))
    return order
