"""Security headers on every answer, whoever made it, and pages that a strict policy lets work."""

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

from .shop import KEYBOARD, browser, operations, running, shop_app, started

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html"}


async def broken(request: Request) -> Response:
    async def half() -> AsyncIterator[str]:
        yield "first"
        raise RuntimeError("a secret in a message")

    if "late" in request.query_params:
        return StreamingResponse(half())
    raise RuntimeError("a secret in a message")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with started(env="production") as app, browser(app) as client:
        app.router.routes.insert(0, Route("/broken", broken))
        yield client


def assert_secure(answer: httpx.Response) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    repeated = {name for name, _ in answer.headers.multi_items() if len(answer.headers.get_list(name)) > 1}
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
async def test_every_answer(
    client: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert_secure(answer)


async def test_every_route() -> None:
    async with started(env="production") as app, browser(app) as client:
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
async def test_hsts_is_for_https_in_production(base_url: str, env: str, expected: bool) -> None:
    async with started(env=env) as app, browser(app, base_url) as client:
        assert ("Strict-Transport-Security" in (await client.get("/healthz")).headers) is expected


async def test_an_unexpected_error(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger="cartapp.web"):
        answer = await client.get("/broken")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.getMessage() == "GET /broken failed"
    page = await client.get("/broken", headers=BROWSER)
    assert "<h1>Something went wrong on our side</h1>" in page.text
    assert "secret" not in page.text + str(page.headers)


async def test_a_client_that_goes_away_amid_its_body_is_no_error_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    came: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return came.pop(0)

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


async def test_an_error_amid_an_answer_cuts_it_off(client: httpx.AsyncClient) -> None:
    with pytest.raises(RuntimeError):
        await client.get("/broken", params={"late": "1"})


async def test_pages_hold_nothing_inline(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.post("/profile/update")
    for path in ("/", "/cart", "/profile", "/preferences", "/docs", "/nope"):
        page = (await client.get(path, headers=BROWSER)).text
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|javascript:|https?://", page)


async def test_what_pages_ask_for_is_there_and_kept_for_a_year(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs"):
        page = (await client.get(path, headers=BROWSER)).text
        addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
        assert len(addresses) >= 3
        for address in addresses:
            answer = await client.get(address)
            assert answer.status_code == 200
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_static_files_without_their_fingerprint(client: httpx.AsyncClient) -> None:
    for address in ("/static/style.css", "/static/style.css?v=old"):
        answer = await client.get(address)
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await client.get(address, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_nothing_outside_the_static_folder(client: httpx.AsyncClient) -> None:
    assert (FOLDER.parent / "errors.py").is_file()
    for path in ("../errors.py", "%2e%2e/errors.py", "..%2ferrors.py", "%2Fetc/passwd", "%00", "x" * 5000):
        assert (await client.get(f"/static/{path}")).status_code == 404


async def test_on_a_server_behind_a_proxy(tmp_path: Path) -> None:
    options = ("--proxy-headers", "--forwarded-allow-ips", "127.0.0.1")
    with running(tmp_path, *options) as address:
        async with httpx.AsyncClient(base_url=address) as client:
            https = {"X-Forwarded-Proto": "https", "Origin": address.replace("http:", "https:")}
            answer = await client.post("/api/cart/add", json=KEYBOARD, headers=https)
            assert answer.headers["Set-Cookie"].startswith("__Host-cart_session=")
            assert "Secure" in answer.headers["Set-Cookie"]
            plain = {"Origin": https["Origin"]}
            assert (await client.post("/api/cart/add", json=KEYBOARD, headers=plain)).status_code == 403
