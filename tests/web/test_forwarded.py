"""Forwarded headers: trusted peers, parsing, and the log of ignored headers."""

import logging
import socket
from typing import Any

import httpx2 as httpx
import pytest
from starlette.responses import Response
from starlette.types import Scope

from cartapp.settings import Settings
from cartapp.web.middleware.cross_origin import CrossOriginCheck
from cartapp.web.middleware.forwarded import ForwardedHeaders, parse_address
from tests.server.test_serve import served, stop
from tests.support.shop import browser, shop_app

pytestmark = pytest.mark.anyio

Headers = list[tuple[str, str]]

PROXY, VISITOR = "10.0.0.1", "203.0.113.9"
TRUSTED = "10.0.0.0/8,2001:db8:1::/48"


def layer(trusted: str = TRUSTED) -> ForwardedHeaders:
    settings = Settings.model_validate({"trusted_proxies": trusted} if trusted else {})
    return ForwardedHeaders(trusted=settings.trusted_proxies)


async def seen_by(
    headers: Headers, *, peer: str | None = PROXY, kind: str = "http", trusted: str = TRUSTED
) -> tuple[str | None, str]:
    """Return the client address and scheme as seen by the application."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scheme = "http" if kind == "http" else "ws"
    scope: Scope = {"type": kind, "scheme": scheme, "client": (peer, 1) if peer else None, "headers": raw}
    layer(trusted).apply(scope)
    client = scope["client"]
    return client[0] if client else None, scope["scheme"]


def hops(*values: str) -> Headers:
    return [("x-forwarded-for", value) for value in values]


def protos(*values: str) -> Headers:
    return [("x-forwarded-proto", value) for value in values]


@pytest.mark.parametrize(
    ("headers", "client"),
    [
        (hops(VISITOR), VISITOR),
        (hops(f"{VISITOR}:4711"), VISITOR),
        (hops("[2001:db8::9]:4711"), "2001:db8::9"),
        (hops("[2001:db8::9]"), "2001:db8::9"),
        (hops("2001:db8::9"), "2001:db8::9"),
        (hops(f"::ffff:{VISITOR}"), VISITOR),
        (hops(f"192.0.2.1, {VISITOR}, 10.9.9.9"), VISITOR),  # the first address was sent by the visitor
        (hops("192.0.2.1", VISITOR, "10.9.9.9"), VISITOR),
        (hops(f"{VISITOR},::ffff:10.9.9.9, 2001:db8:1::7"), VISITOR),
        (hops("10.1.1.1, 10.2.2.2"), "10.1.1.1"),  # the visitor is in a trusted network
        (hops("unknown, 10.2.2.2"), "10.2.2.2"),
        (hops("\x1b[31m\x85"), PROXY),
        (hops(""), PROXY),
        (hops(", ,"), PROXY),
        (protos("https"), PROXY),
    ],
)
async def test_client_address(headers: Headers, client: str) -> None:
    assert (await seen_by(headers))[0] == client


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        (protos("https"), "https"),
        (protos("HTTPS"), "https"),
        (protos(" Https "), "https"),
        (protos("wss"), "https"),
        (protos("https,http"), "https"),
        (protos("https", "http"), "https"),
        (protos("http,https"), "http"),
        (protos("http"), "http"),
        (protos(""), "http"),
        (protos(","), "http"),
        (protos("ftp"), "http"),
        (protos("javascript:https"), "http"),
        (
            [*hops(VISITOR), *protos("https, http")],
            "https",
        ),  # different lengths: the first value
        # The outer proxy received https, the inner one http; each appended one value to both lists.
        ([*hops(f"{VISITOR}, 10.9.9.9"), *protos("https, http")], "https"),
        # Values sent by the visitor, before those of the outer proxy, are ignored.
        ([*hops(f"192.0.2.1, {VISITOR}, 10.9.9.9"), *protos("https, http, https")], "http"),
        (hops(VISITOR), "http"),
    ],
)
async def test_scheme(headers: Headers, scheme: str) -> None:
    assert (await seen_by(headers))[1] == scheme
    secure = {"http": "ws", "https": "wss"}
    assert (await seen_by(headers, kind="websocket"))[1] == secure[scheme]


@pytest.mark.parametrize(
    ("trusted", "peer", "is_trusted"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "::FFFF:10.0.0.1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.0/104", "10.2.3.4", True),
        ("::ffff:10.0.0.0/104", "::ffff:10.2.3.4", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("::/0", "::ffff:10.0.0.1", False),
        ("0.0.0.0/0", "unix:", False),
        ("0.0.0.0/0", None, False),
        ("0.0.0.0/0", "", False),
        ("", "127.0.0.1", False),
    ],
)
async def test_headers_are_read_only_from_trusted_peers(
    trusted: str, peer: str | None, is_trusted: bool
) -> None:
    client, scheme = await seen_by([*hops(VISITOR), *protos("https")], peer=peer, trusted=trusted)
    assert (client == VISITOR, scheme == "https") == (is_trusted, is_trusted)


async def test_ipv4_mapped_peer_is_ipv4() -> None:
    assert await seen_by([], peer="::ffff:192.0.2.7") == ("192.0.2.7", "http")
    assert await seen_by([], peer="::ffff:what") == ("::ffff:what", "http")
    assert str(parse_address("::ffff:192.0.2.7")) == "192.0.2.7"


async def test_long_chain_is_read_from_its_end() -> None:
    client, _ = await seen_by(hops(", ".join([VISITOR, *["10.0.0.9"] * 1000])))
    assert client == "10.0.0.9"


async def test_ignored_headers_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clients = []
    ignoring = layer("")
    for peer in (VISITOR, PROXY, VISITOR):
        raw = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-proto", b"https")]
        scope: Scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": raw}
        ignoring.apply(scope)
        clients.append(scope["client"][0])
    (warning,) = caplog.messages
    assert warning.startswith(
        f"X-Forwarded-For and X-Forwarded-Proto from {VISITOR} ignored: CART_TRUSTED_PROXIES "
    )
    assert clients == [VISITOR, PROXY, VISITOR]


async def test_trusted_headers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    await seen_by([*hops(VISITOR), *protos("https")])
    assert not caplog.messages


async def test_through_the_application(caplog: pytest.LogCaptureFixture) -> None:
    app = shop_app(trusted_proxies="127.0.0.1", env="production", secret_key=None)
    transport = httpx.ASGITransport(app, client=("::ffff:127.0.0.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
        response = await client.get("/visit-counter", headers={"X-Forwarded-Proto": "HTTPS, http"})
        assert response.headers["set-cookie"].startswith("__Host-cart_session=")
        assert "strict-transport-security" in response.headers
        assert not caplog.messages


# -- a proxy that changes Host ----------------------------------------------------------------------------


def refusal(host: str | None, origin: str, scheme: str = "http", **more: str) -> Scope:
    headers = {"origin": origin, **more} | ({} if host is None else {"host": host})
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": "/api/cart", "scheme": scheme, "headers": raw}


@pytest.mark.parametrize(
    ("scope", "sentence"),
    [
        (
            refusal("shop.lan", "http://shop.lan:8080"),
            "another port: a proxy must pass on Host",
        ),
        (refusal(None, "http://shop.lan:8080"), "no usable Host header"),
        (refusal("", "http://shop.lan:8080"), "no usable Host header"),
        (refusal("a b", "http://shop.lan:8080"), "no usable Host header"),
        (refusal("shop.lan", "https://shop.lan"), "CART_TRUSTED_PROXIES must name it"),
        (refusal("127.0.0.1:7147", "https://shop.lan", "https"), "CART_TRUSTED_ORIGINS must name the origin"),
        (refusal("shop.lan", "https://shop.lan", sec_fetch_site="cross-site"), None),
        (refusal("shop.lan", "null"), None),
        (refusal("shop.lan", ""), None),
    ],
)
async def test_rejected_form_is_explained_once(
    scope: Scope, sentence: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    check = CrossOriginCheck()
    for _ in range(3):
        response = check.rejection(scope)
        assert isinstance(response, Response)
        assert response.status_code == 403
    if sentence is None:
        assert not caplog.messages
        return
    (warning,) = caplog.messages
    assert sentence in warning
    assert caplog.records[0].levelno == logging.WARNING


async def test_each_cause_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    async with browser(shop_app(), "http://shop.lan") as client:
        for origin in (
            "http://shop.lan:8080",
            "https://shop.lan",
            "http://other.example",
            "https://evil.example",
        ):
            response = await client.post("/cart/clear", headers={"Origin": origin})
            assert response.status_code == 403
    assert [message.partition(". ")[0] for message in caplog.messages] == [
        f"Rejected as cross-site: a request with the origin {origin}"
        for origin in ("http://shop.lan:8080", "https://shop.lan", "http://other.example")
    ]


# -- the server -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_server_on_all_addresses_trusts_ipv4_in_ipv6(address: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    variables: dict[str, Any] = {"CART_TRUSTED_PROXIES": "127.0.0.1"}
    with served("--host", "::", "--workers", "2", **variables) as (running, client):
        base = str(client.base_url).replace("127.0.0.1", f"[{address}]" if ":" in address else address)
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": VISITOR}
        response = httpx.get(f"{base}/visit-counter", headers=headers, verify=False, trust_env=False)
        assert ("Secure" in response.headers["set-cookie"]) is (address == "127.0.0.1")
        _, log = stop(running)
    assert (f'{VISITOR} "GET' in log) is (address == "127.0.0.1")
    assert ("X-Forwarded-Proto from ::1 ignored" in log) is (address == "::1")
