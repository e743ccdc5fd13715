"""The shop below a path of a proxy treats each path as it does without: see `cartapp.web.root_path`."""

import httpx2 as httpx
import pytest

from tests.support.shop import HTTPS, running_app

pytestmark = pytest.mark.anyio

ROOT = "/shop"
FROM_A_BROWSER = {"Accept": "text/html", "Accept-Encoding": "gzip"}
COMPARED = ("content-type", "content-encoding", "cache-control", "vary", "allow")


async def responses(root: str, path: str) -> list[tuple[object, ...]]:
    """Return the facts of responses to a browser that must not depend on the root path."""
    async with running_app(metrics=True) as app:
        transport = httpx.ASGITransport(app, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url=HTTPS + root) as client:
            for number in range(1, 21):  # long enough to be compressed
                item = {"product_id": number, "name": f"Product {number}", "price": 1, "quantity": 1}
                assert (await client.post("/api/cart/add", json=item)).status_code == 200
            found: list[tuple[object, ...]] = []
            for method in ("GET", "HEAD", "POST"):
                response = await client.request(method, path, headers=FROM_A_BROWSER)
                facts = [response.headers.get(name) for name in COMPARED]
                found.append((response.status_code, *facts))
            return found


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/cart",
        "/dashboard",
        "/nowhere",
        "/api/cart",
        "/api/nowhere",
        "/static/shop.js",
        "/static/nothing",
        "/healthz",
        "/metrics",
        "/inspect",
        "/openapi.json",
    ],
)
async def test_responses_do_not_depend_on_the_root_path(path: str) -> None:
    assert await responses(ROOT, path) == await responses("", path)
