"""What browsers, crawlers and link previews read: compression, icon, robots.txt, descriptions."""

import re
from collections.abc import AsyncIterator

import httpx2 as httpx
import pytest

from tests.support.shop import KEYBOARD, shop

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html", "Accept-Encoding": "gzip"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        yield client


def is_compressed(response: httpx.Response) -> bool:
    assert response.status_code == 200
    return response.headers.get("Content-Encoding") == "gzip"


async def test_pages_and_assets_are_compressed(client: httpx.AsyncClient) -> None:
    page = await client.get("/", headers=PAGE)
    assert is_compressed(page)
    assert int(page.headers["Content-Length"]) < len(page.content) / 4
    assert "Accept-Encoding" in page.headers["Vary"]
    for path in ("/static/style.css", "/static/style.css?v=1", "/openapi.json"):
        assert is_compressed(await client.get(path, headers={"Accept-Encoding": "gzip"})), path
    assert not is_compressed(await client.get("/", headers={**PAGE, "Accept-Encoding": "identity"}))


async def test_input_of_other_sites_is_not_compressed(client: httpx.AsyncClient) -> None:
    """BREACH: the compressed length of private content with chosen input reveals the content."""
    assert not is_compressed(await client.get("/?q=usb", headers=PAGE))
    assert not is_compressed(await client.get("/login?next=/cart", headers=PAGE))


async def test_api_and_ranges_are_not_compressed(client: httpx.AsyncClient) -> None:
    for number in range(1, 30):
        await client.post("/api/cart/add", json={**KEYBOARD, "product_id": number})
    for accepted in ({"Accept-Encoding": "gzip"}, PAGE):
        assert not is_compressed(await client.get("/api/cart", headers=accepted))
    headers = {"Accept-Encoding": "gzip", "Range": "bytes=0-2000"}
    part = await client.get("/static/style.css", headers=headers)
    assert (part.status_code, len(part.content)) == (206, 2001)
    assert "Content-Encoding" not in part.headers


async def test_icon_and_robots(client: httpx.AsyncClient) -> None:
    icon = await client.get("/favicon.ico", follow_redirects=True)
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")
    robots = await client.get("/robots.txt")
    assert robots.headers["Content-Type"].startswith("text/plain")
    assert "Disallow: /cart\n" in robots.text


async def test_descriptions(client: httpx.AsyncClient) -> None:
    page = (await client.get("/products/2", headers=PAGE)).text
    (description,) = re.findall(r'<meta name="description" content="(.*?)">', page)
    assert description.startswith("HDMI, two USB-A ports")
    assert f'<meta property="og:description" content="{description}">' in page
    assert '<meta property="og:title" content="USB-C Hub">' in page
    assert 'name="description"' in (await client.get("/", headers=PAGE)).text
