"""The cross-origin check: its rules as a table, and every unsafe route."""

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from cartapp.web.middleware.cross_origin import CrossOriginCheck, is_same_origin, parse_origin
from tests.support.shop import KEYBOARD, UNSAFE, browser, operations, shop_app

OWN, OTHER, TRUSTED = "https://testserver", "https://evil.example", "https://partner.example"
TRUSTED_ORIGINS = {origin for origin in (parse_origin(TRUSTED),) if origin}

Headers = list[tuple[str, str]]

PASSED: list[Headers] = [
    [],
    [("Sec-Fetch-Site", "same-origin")],
    [("Sec-Fetch-Site", "none")],
    [("Sec-Fetch-Site", "same-origin"), ("Origin", OTHER)],  # Sec-Fetch-Site takes precedence
    [("Origin", OWN)],
    [("Origin", "HTTPS://TestServer:443")],
    [("Origin", TRUSTED)],
    [("Origin", TRUSTED), ("Sec-Fetch-Site", "cross-site")],
]
REFUSED: list[Headers] = [
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "cross-site"), ("Origin", OWN)],
    [("Sec-Fetch-Site", "cross-site"), ("Origin", OTHER)],
    [("Sec-Fetch-Site", "")],
    [("Sec-Fetch-Site", "Same-Origin")],
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    [("Origin", OTHER)],
    [("Origin", "null")],
    [("Origin", "")],
    [("Origin", "http://testserver")],
    [("Origin", "https://testserver:444")],
    [("Origin", "https://testserver.evil.example")],
    [("Origin", "https://testserver@evil.example")],
    [("Origin", "https://sub.testserver")],
    [("Origin", f"{OWN}/")],
    [("Origin", f"{OWN} {OTHER}")],
    [("Origin", OWN), ("Origin", OTHER)],
    [("Origin", "http://partner.example")],
    [("Origin", "https://partner.example:8443")],
]


def scope(headers: Headers, *, host: str = "testserver", **other: Any) -> Scope:
    raw = [(name.lower().encode(), value.encode()) for name, value in [("Host", host), *headers]]
    return {"type": "http", "method": "POST", "path": "/", "scheme": "https", "headers": raw, **other}


@pytest.mark.parametrize("headers", PASSED)
def test_same_origin_requests_pass(headers: Headers) -> None:
    assert is_same_origin(scope(headers), TRUSTED_ORIGINS)


@pytest.mark.parametrize("headers", REFUSED)
def test_cross_origin_requests_are_rejected(headers: Headers) -> None:
    assert not is_same_origin(scope(headers), TRUSTED_ORIGINS)


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "same"),
    [
        ("http", "127.0.0.1:7147", "http://127.0.0.1:7147", True),
        ("http", "127.0.0.1:7147", "http://localhost:7147", False),
        ("http", "127.0.0.1:7147", "http://127.0.0.1:7148", False),
        ("http", "testserver", "http://testserver:80", True),
        ("http", "testserver:443", "https://testserver", False),
        ("https", "[::1]:8443", "https://[::1]:8443", True),
        ("ws", "testserver", "http://testserver", True),
        ("wss", "testserver", "https://testserver", True),
        ("wss", "testserver", "http://testserver", False),
        ("https", "", "https://testserver", False),
        ("https", "evil.example/testserver", "https://testserver", False),
    ],
)
def test_own_origin_depends_on_scheme_host_and_port(scheme: str, host: str, origin: str, same: bool) -> None:
    assert is_same_origin(scope([("Origin", origin)], scheme=scheme, host=host)) is same


APP = shop_app(trusted_origins=(TRUSTED,))
UNSAFE_ROUTES = [(method, path) for method, path in operations(APP) if method in UNSAFE]


def test_unsafe_routes_are_found() -> None:
    assert len(UNSAFE_ROUTES) >= 14
    assert ("POST", "/profile/update") in UNSAFE_ROUTES


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path"), [*UNSAFE_ROUTES, ("POST", "/nope"), ("FOO", "/api/cart")])
async def test_every_unsafe_route_is_protected(method: str, path: str) -> None:
    async with browser(APP) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        before = (await client.get("/api/cart")).text
        for headers in REFUSED:
            response = await client.request(method, path, headers=headers)
            assert response.status_code == 403
            assert response.json() == {"error": "Requests from other sites are not allowed"}
        assert (await client.get("/api/cart")).text == before
        page = await client.request(method, path, headers=[("Origin", OTHER), ("Accept", "text/html")])
        assert page.status_code == 403
        assert page.headers["Content-Type"].startswith(
            "application/json" if path.startswith("/api/") else "text/html"
        )
        for headers in PASSED:
            assert (await client.request(method, path, headers=headers)).status_code != 403


@pytest.mark.anyio
async def test_safe_methods_pass() -> None:
    async with browser(APP) as client:
        for method in ("GET", "HEAD", "OPTIONS"):
            response = await client.request(method, "/api/cart", headers={"Sec-Fetch-Site": "cross-site"})
            assert response.is_success


async def _welcome(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept"})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "extensions", "first"),
    [
        ([("Origin", OWN)], {}, "websocket.accept"),
        ([("Origin", TRUSTED)], {}, "websocket.accept"),
        ([], {}, "websocket.accept"),
        ([("Origin", OTHER)], {}, "websocket.close"),
        ([("Origin", "null")], {"websocket.http.response": {}}, "websocket.http.response.start"),
        ([("Sec-Fetch-Site", "cross-site")], {}, "websocket.close"),
    ],
)
async def test_websocket_handshake_is_checked(
    headers: Headers, extensions: dict[str, Any], first: str
) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    handshake = scope(headers, type="websocket", scheme="wss", extensions=extensions)
    rejection = CrossOriginCheck(trusted=[TRUSTED]).rejection(handshake)
    await (rejection or _welcome)(handshake, receive, send)
    assert sent[0]["type"] == first
    if first.endswith("response.start"):
        assert sent[0]["status"] == 403
