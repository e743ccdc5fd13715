"""Security headers on every response, and pages that work under a strict content security policy."""

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message

from cartapp.web.static import FOLDER
from tests.support.shop import KEYBOARD, browser, operations, running_app, running_uvicorn, shop_app

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html"}


async def broken(request: Request) -> Response:
    async def failing() -> AsyncIterator[str]:
        yield "first"
        raise RuntimeError("a secret in a message")

    if "late" in request.query_params:
        return StreamingResponse(failing())
    raise RuntimeError("a secret in a message")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with running_app(env="production") as app, browser(app) as client:
        app.router.routes.insert(0, Route("/broken", broken))
        yield client


def assert_secure(response: httpx.Response) -> None:
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
    repeated = {
        name for name, _ in response.headers.multi_items() if len(response.headers.get_list(name)) > 1
    }
    assert repeated <= {"set-cookie"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/api/cart", {}, 200),
        ("HEAD", "/api/cart", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/openapi.json", {}, 200),
        ("GET", "/healthz", {}, 200),
        ("GET", "/static/style.css", {}, 200),
        ("GET", "/static/style.css", {"If-None-Match": "*"}, 304),
        ("OPTIONS", "/api/cart", {}, 204),
        ("POST", "/profile/update", {}, 303),
        ("POST", "/api/cart/add", {}, 400),
        ("POST", "/api/cart", {"Origin": "https://evil.example"}, 403),
        ("GET", "/nope", {}, 404),
        ("GET", "/nope", BROWSER, 404),
        ("GET", "/static/nope", {}, 404),
        ("PATCH", "/api/cart", {}, 405),
        ("POST", "/static/style.css", {}, 405),
        ("POST", "/api/cart/add", {"Content-Length": "65537"}, 413),
        ("GET", "/broken", {}, 500),
        ("GET", "/broken", BROWSER, 500),
        ("HEAD", "/broken", {}, 500),
    ],
)
async def test_every_response_has_security_headers(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response = await client.request(method, path, headers=headers)
    assert response.status_code == status
    assert_secure(response)


async def test_every_route_has_security_headers() -> None:
    async with running_app(env="production") as app, browser(app) as client:
        for method, path in operations(app):
            assert_secure(await client.request(method, path))


@pytest.mark.parametrize(
    ("base_url", "env", "expected"),
    [
        ("https://testserver", "production", True),
        ("http://testserver", "production", False),
        ("https://testserver", "development", False),
    ],
)
async def test_hsts_only_on_https_in_production(base_url: str, env: str, expected: bool) -> None:
    async with running_app(env=env) as app, browser(app, base_url) as client:
        assert ("Strict-Transport-Security" in (await client.get("/healthz")).headers) is expected


async def test_unexpected_error_is_logged_without_details_in_response(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="cartapp.web"):
        response = await client.get("/broken")
    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.getMessage() == "GET /broken failed"
    page = await client.get("/broken", headers=BROWSER)
    assert "<h1>Something went wrong</h1>" in page.text
    assert "secret" not in page.text + str(page.headers)


async def test_client_disconnect_during_body_is_not_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    incoming: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/cart/add",
        "headers": headers,
        "query_string": b"",
    }
    await shop_app()(scope, receive, send)
    assert not sent
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_error_during_streaming_aborts_the_response(client: httpx.AsyncClient) -> None:
    with pytest.raises(RuntimeError):
        await client.get("/broken", params={"late": "1"})


async def test_pages_contain_no_inline_code(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.post("/profile/update")
    for path in ("/", "/cart", "/profile", "/preferences", "/docs", "/nope"):
        page = (await client.get(path, headers=BROWSER)).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:|https?://", page)


async def test_page_assets_exist_and_are_cached_for_a_year(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = (await client.get(path, headers=BROWSER)).text
        addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
        assert len(addresses) >= 3
        for address in addresses:
            response = await client.get(address)
            assert response.status_code == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_assets_without_fingerprint_are_revalidated(client: httpx.AsyncClient) -> None:
    for address in ("/static/style.css", "/static/style.css?v=old"):
        response = await client.get(address)
        assert response.headers["Cache-Control"] == "no-cache"
        again = await client.get(address, headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_static_route_serves_nothing_outside_its_folder(client: httpx.AsyncClient) -> None:
    assert (FOLDER.parent / "errors.py").is_file()
    for path in ("../errors.py", "%2e%2e/errors.py", "..%2ferrors.py", "%2Fetc/passwd", "%00", "x" * 5000):
        assert (await client.get(f"/static/{path}")).status_code == 404


async def test_on_a_server_behind_a_proxy(tmp_path: Path) -> None:
    options = ("--proxy-headers", "--forwarded-allow-ips", "127.0.0.1")
    with running_uvicorn(tmp_path, *options) as address:
        async with httpx.AsyncClient(base_url=address, verify=False) as client:
            https = {"X-Forwarded-Proto": "https", "Origin": address.replace("http:", "https:")}
            response = await client.post("/api/cart/add", json=KEYBOARD, headers=https)
            assert response.headers["Set-Cookie"].startswith("__Host-cart_session=")
            assert "Secure" in response.headers["Set-Cookie"]
            plain = {"Origin": https["Origin"]}
            assert (await client.post("/api/cart/add", json=KEYBOARD, headers=plain)).status_code == 403
