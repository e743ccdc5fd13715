"""`/proof`: absent in production; the page in a browser is in tests/browser."""

import httpx2 as httpx
import pytest

from cartapp.settings.types import OTHER_COOKIES
from tests.support.shop import browser, cookie_names, running_app, shop

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html"}
SECOND_VISIT = '{"visit_count":2,"message":"You have visited this page 2 times"}'
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


async def call(client: httpx.AsyncClient, action: str) -> httpx.Response:
    return await client.post(f"/proof/sessions/{action}")


async def test_is_absent_in_production() -> None:
    async with running_app(env="production", secret_key=SECRET) as app, browser(app) as client:
        assert (await client.get("/proof")).status_code == 404
        assert (await call(client, "layer/start")).status_code == 404
        assert "/proof" not in (await client.get("/", headers=PAGE)).text


async def test_footer_links_to_developer_pages() -> None:
    async with shop() as client:
        page = (await client.get("/", headers=PAGE)).text
        assert 'href="/inspect"' in page
        assert 'href="/proof"' in page


async def test_cookie_backend_cannot_compare() -> None:
    async with shop(session_backend="cookie", secret_key=SECRET) as client:
        page = await client.get("/proof", headers=PAGE)
        assert "each browser stores its own session" in page.text
        assert "Send 200" not in page.text
        assert (await call(client, "layer/start")).status_code == 404


@pytest.mark.parametrize("side", ["layer", "plain"])
async def test_no_session_of_the_shop_can_have_the_name_of_a_cookie(side: str) -> None:
    async with shop() as client:
        for action in ("start", "log-out"):
            names = cookie_names(await call(client, f"{side}/{action}"))
            assert names
            assert names <= {*OTHER_COOKIES}


@pytest.mark.parametrize("side", ["layer", "plain"])
async def test_the_session_of_the_shop_is_not_touched(side: str) -> None:
    async with shop() as client:
        await client.get("/visit-counter")
        for action in ("start", "add", "log-out"):
            assert (await call(client, f"{side}/{action}")).status_code == 200
        assert (await client.get("/visit-counter")).text == SECOND_VISIT
        assert (await call(client, f"{side}/state")).json() == {"user": None, "count": None, "order": None}


async def test_plain_cookie_cannot_name_a_session_of_the_shop() -> None:
    async with shop() as client:
        await client.get("/visit-counter")
        own = client.cookies["__Host-cart_session"]
        report = (await client.get("/inspect", headers={"Accept": "application/json"})).json()
        for value in (own, report["session"]["handle"]):
            client.cookies.set("proof_plain", value)
            assert (await call(client, "plain/state")).json()["user"] is None
            assert (await call(client, "plain/log-out")).status_code == 200
        assert (await client.get("/visit-counter")).text == SECOND_VISIT
