"""The shop under a path of nginx: `cart serve --root-path /shop`."""

import re
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.servers import nginx
from tests.support.servers.process import free_port
from tests.support.shop_server import running_shop

from .chromium import visitor

pytestmark = pytest.mark.anyio

HTTP = """
server {{
  listen 127.0.0.1:{port};
  location /shop/ {{
    proxy_pass http://127.0.0.1:{upstream}/;
    proxy_set_header Host $http_host;
  }}
}}
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the shop behind nginx; yield its URL, which ends with `/shop`."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    with running_shop(folder, {}, "--root-path", "/shop", workers=1) as shop:
        http = HTTP.format(port=port, upstream=urlsplit(shop.url).port)
        with nginx.running(folder, port, http):
            yield f"http://127.0.0.1:{port}/shop"


@pytest.fixture
async def page(chromium: Browser, address: str) -> AsyncIterator[Page]:
    """A tab; checks that each of its requests was below the path, and that none failed."""
    async with visitor(chromium, address) as person:
        page = await person.tab()
        paths: list[str] = []
        page.on("request", lambda request: paths.append(urlsplit(request.url).path))
        yield page
        assert [path for path in paths if not path.startswith("/shop/")] == []
        assert person.problems == []


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, verify=False, trust_env=False) as client:
        yield client


async def test_visitor_shops_and_checks_out(page: Page, address: str) -> None:
    await page.goto(f"{address}/")
    await page.get_by_role("button", name="Add to cart: Wireless Keyboard").click()
    await page.get_by_role("link", name="View cart").click()
    await expect(page).to_have_url(f"{address}/cart")
    await page.get_by_role("button", name="Increase quantity: Wireless Keyboard").click()
    await expect(page.locator("[data-total]")).to_have_text("$159.98")
    await page.get_by_role("button", name="Remove: Wireless Keyboard").click()
    await expect(page.get_by_text("Your cart is empty.")).to_be_visible()
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator("[data-total]")).to_have_text("$159.98")
    await page.get_by_role("button", name="Check out").click()
    await expect(page.get_by_role("dialog")).to_contain_text('"amount": 15998')
    await page.keyboard.press("Escape")
    await page.get_by_role("link", name="Continue shopping").click()
    await page.get_by_role("link", name="Wireless Keyboard").click()
    await expect(page.get_by_role("spinbutton")).to_have_value("2")
    assert await page.evaluate("() => [...document.images].every((image) => image.naturalWidth)")


async def test_forms_redirect_below_the_path(page: Page, address: str) -> None:
    await page.goto(f"{address}/register")
    await page.get_by_label("Name").fill("Ann")
    await page.get_by_label("Email").fill("ann@example.com")
    await page.get_by_label("Password").fill("a long phrase of mine")
    await page.get_by_role("button", name="Create account").click()
    await expect(page).to_have_url(f"{address}/dashboard")
    await page.get_by_role("button", name="Ann").click()
    await page.get_by_role("button", name="Log out").click()
    await expect(page).to_have_url(f"{address}/login")
    await page.goto(f"{address}/login?next=/preferences")
    await page.get_by_label("Email").fill("ann@example.com")
    await page.get_by_label("Password").fill("a long phrase of mine")
    await page.get_by_role("button", name="Log in").click()
    await expect(page).to_have_url(f"{address}/preferences")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Preferences saved")).to_be_visible()


async def test_pages_for_developers(page: Page, address: str) -> None:
    await page.goto(f"{address}/proof")
    await page.get_by_role("button", name="Send 200 concurrent requests").click()
    await expect(page.locator("#layer .verdict")).to_contain_text("the session counted 200, no update lost.")
    await page.goto(f"{address}/cart")
    await expect(page.get_by_role("complementary", name="Session")).to_contain_text("GET /shop/cart")
    await page.get_by_role("link", name="Inspect this session").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("This session")
    await page.goto(f"{address}/docs")
    await page.locator(".opblock-summary-control").first.click()
    await page.get_by_role("button", name="Execute").click()
    await expect(page.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")


@pytest.mark.parametrize(
    "path", ["/", "/products/1", "/cart", "/login", "/register", "/profile", "/preferences", "/docs", "/none"]
)
async def test_every_link_of_a_page_is_below_the_path(client: httpx.AsyncClient, path: str) -> None:
    text = (await client.get(path, headers={"Accept": "text/html"})).text
    links: list[str] = re.findall(r'(?:href|src|action)="(/[^"]*)"', text)
    assert len(links) > 3
    for link in links:
        assert link.startswith("/shop/")
        if "/logout" not in link and "/cart/" not in link:
            address = client.base_url.copy_with(raw_path=link.replace("&amp;", "&").encode())
            assert (await client.get(address)).status_code in (200, 303, 405), link


async def test_icon_and_api_document(client: httpx.AsyncClient) -> None:
    icon = await client.get("/favicon.ico", follow_redirects=True)
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")
    assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "/shop"}]
    assert (await client.post("/static/style.css")).headers["Allow"] == "GET, HEAD, OPTIONS"
