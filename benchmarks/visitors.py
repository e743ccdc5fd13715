"""Work outside the timed load: create sessions, check responses, count lost updates."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx

from .registry import ENDPOINTS, GET, PING, PUT, VISIT, Peer
from .shop import PRODUCTS, cart_json, full_cart, visits_json
from .wrk import BenchmarkError

SESSIONS = 128
ADDS = 200
QUANTITIES = range(2, 10)
"""Successive PUTs set different quantities, so that no write can be skipped as unchanged."""


def prepare(peer: Peer, address: str) -> list[str]:
    """Check a peer's responses, create its sessions, return their cookies. Raises `BenchmarkError`."""
    with httpx.Client(base_url=address) as client:
        _expect(peer, client.get(peer.ping), {"status": "ok"})
        if peer.endpoints != ENDPOINTS:
            if GET in peer.endpoints:
                _expect(peer, client.get("/api/cart"), full_cart())
            return []
        cookies = [_new_session(client) for _ in range(SESSIONS)]
        _check(peer, client)
    return cookies


def requests(peer: Peer, cookies: Sequence[str]) -> dict[str, list[bytes]]:
    """Return the raw requests of each endpoint."""
    bodies = [json.dumps({"quantity": quantity}).encode() for quantity in QUANTITIES]
    return {
        PING: [_raw("GET", peer.ping)],
        GET: [_raw("GET", "/api/cart", cookie) for cookie in cookies or [""]],
        PUT: [_raw("PUT", "/api/cart/1", cookie, body) for body in bodies for cookie in cookies],
        VISIT: [_raw("GET", "/visit-counter", cookie) for cookie in cookies],
    }


def count_lost_sessions(address: str, cookies: Sequence[str]) -> int:
    """Return the number of sessions without their cart."""
    with httpx.Client(base_url=address) as client:
        responses = [client.get("/api/cart", headers={"Cookie": cookie}) for cookie in cookies]
    return sum(
        response.status_code != 200 or response.json()["unique_items"] != len(PRODUCTS)
        for response in responses
    )


def _new_session(client: httpx.Client) -> str:
    """Fill a cart as a new visitor and return the session cookie."""
    client.cookies.clear()
    for product in PRODUCTS:
        client.post("/api/cart/add", json=product | {"quantity": 1}).raise_for_status()
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def _check(peer: Peer, client: httpx.Client) -> None:
    """Check that the newest session returns the JSON common to all peers."""
    items = [product | {"quantity": 1} for product in PRODUCTS]
    _expect(peer, client.get("/api/cart"), cart_json(items))
    items[0]["quantity"] = 4
    _expect(peer, client.put("/api/cart/1", json={"quantity": 4}), cart_json(items))
    _expect(peer, client.get("/api/cart"), cart_json(items))
    for count in (1, 2):
        _expect(peer, client.get("/visit-counter"), visits_json(count))


def _expect(peer: Peer, response: httpx.Response, expected: dict[str, Any]) -> None:
    if response.status_code != 200 or response.json() != expected:
        request = f"{response.request.method} {response.request.url.path}"
        raise BenchmarkError(
            f"{peer.name}: unexpected response to {request}: {response.status_code} {response.text}"
        )


def _raw(method: str, path: str, cookie: str = "", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True)
class Race:
    """Outcome of 200 parallel adds of one product to one session."""

    lost: int
    """Confirmed but missing from the cart."""
    refused: int
    """Rejected with an error, visibly to the client."""


def race(address: str) -> Race:
    """Send the parallel adds and count lost and refused ones."""
    return asyncio.run(_race(address))


async def _race(address: str) -> Race:
    product = PRODUCTS[0] | {"quantity": 1}
    limits = httpx.Limits(max_connections=ADDS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
        (await client.post("/api/cart/add", json=product)).raise_for_status()
        responses = await asyncio.gather(*(client.post("/api/cart/add", json=product) for _ in range(ADDS)))
        confirmed = sum(response.status_code == 200 for response in responses)
        cart = (await client.get("/api/cart")).json()
    return Race(lost=1 + confirmed - int(cart["item_count"]), refused=ADDS - confirmed)
