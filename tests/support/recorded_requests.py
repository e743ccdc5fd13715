"""Send requests to a running shop and record them as calls of `sequential_model`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx2 as httpx

from cartapp.session.record import key_from_id
from tests.support.sequential_model import DEFAULTS, Act, Call, Value
from tests.support.shop_server import Shop

_COOKIE = "cart_session="

_ROUTES: dict[Act, tuple[str, str]] = {
    "add": ("POST", "/api/cart/add"),
    "set": ("PUT", "/api/cart/{}"),
    "remove": ("DELETE", "/api/cart/{}"),
    "empty": ("DELETE", "/api/cart"),
    "cart": ("GET", "/api/cart"),
    "visit": ("GET", "/visit-counter"),
    "prefer": ("POST", "/api/preferences"),
    "forget": ("DELETE", "/api/preferences/{}"),
    "preferences": ("GET", "/api/preferences"),
    "log in": ("POST", "/login"),
    "log out": ("POST", "/logout"),
    "clear": ("POST", "/api/session/clear"),
    "end": ("DELETE", "/account/sessions/{}"),
}

_BODIES: dict[Act, Callable[..., object]] = {
    "add": lambda product, quantity: {
        "product_id": product, "name": "Keyboard", "price": 79.99, "quantity": quantity
    },
    "set": lambda _product, quantity: {"quantity": quantity},
    "prefer": lambda *values: dict(zip(DEFAULTS, values, strict=True)),
}  # fmt: skip


@asynccontextmanager
async def clients(shops: Sequence[Shop]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Yield a client of each server that sends only explicitly given cookies."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(shop.client()) for shop in shops]
        for client in opened:
            client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        yield opened


async def request(
    shop: httpx.AsyncClient,
    act: Act,
    sent: str | None,
    args: tuple[Value, ...] = (),
    *,
    user: Mapping[str, str],
) -> Call:
    """Send one request with this session ID and return it as a call; `user` is the log-in's body."""
    method, path = _ROUTES[act]
    names = [key_from_id(str(arg)) if act == "end" else arg for arg in args]
    body = user if act == "log in" else _BODIES[act](*args) if act in _BODIES else None
    headers = {"Accept": "application/json"} | ({"Cookie": _COOKIE + sent} if sent else {})
    now = asyncio.get_running_loop().time
    call = Call(act, sent, now(), args=args)
    try:
        response = await shop.request(method, path.format(*names), json=body, headers=headers)
    except (httpx.NetworkError, httpx.RemoteProtocolError):
        return call  # no status: it may have taken effect
    if response.status_code == 503:
        return call
    return replace(call, ended=now(), **_response_fields(response))


def _response_fields(response: httpx.Response) -> dict[str, Any]:
    """Return the content of a response as fields of a `Call`."""
    fields: dict[str, Any] = {"status": response.status_code}
    for cookie in response.headers.get_list("Set-Cookie"):
        if cookie.startswith(_COOKIE):
            fields["received"] = cookie.removeprefix(_COOKIE).partition(";")[0]
    body = response.json()
    if "items" in body:
        fields["shown"] = tuple(sorted((line["product_id"], line["quantity"]) for line in body["items"]))
    elif "visit_count" in body:
        fields["shown"] = body["visit_count"]
    elif "theme" in (preferences := body.get("preferences", body)):
        fields["shown"] = tuple(preferences[name] for name in DEFAULTS)
    return fields
