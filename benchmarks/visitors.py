"""What happens before the timing: sessions are made, answers checked, and lost updates counted."""

import asyncio
import json
from typing import Any

import httpx2 as httpx

from .registry import Peer
from .shop import PRODUCTS, cart_json, visits_json
from .wrk import BenchmarkError

SESSIONS = 128
ADDS = 200
QUANTITIES = range(2, 10)
"""A PUT never sets the quantity that stands there, so none can be saved by doing nothing."""


def prepare(peer: Peer, address: str) -> dict[str, list[bytes]]:
    """Check the peer's answers and make its sessions; the raw requests of each of its endpoints."""
    with httpx.Client(base_url=address) as client:
        _expect(peer, client.get(peer.ping), {"status": "ok"})
        if peer.endpoints == ("/ping",):
            return {"/ping": [_raw("GET", peer.ping)]}
        cookies = [_new_session(client) for _ in range(SESSIONS)]
        _check(peer, client)
    bodies = [json.dumps({"quantity": quantity}).encode() for quantity in QUANTITIES]
    return {
        "/ping": [_raw("GET", peer.ping)],
        "GET /api/cart": [_raw("GET", "/api/cart", cookie) for cookie in cookies],
        "PUT /api/cart/1": [_raw("PUT", "/api/cart/1", c, body) for body in bodies for c in cookies],
        "/visit-counter": [_raw("GET", "/visit-counter", cookie) for cookie in cookies],
    }


def _new_session(client: httpx.Client) -> str:
    """Fill a cart as a new visitor; the session's cookie."""
    client.cookies.clear()
    for product in PRODUCTS:
        client.post("/api/cart/add", json=product | {"quantity": 1}).raise_for_status()
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


def _check(peer: Peer, client: httpx.Client) -> None:
    """The last session that was made gives the answers that all peers give."""
    items = [product | {"quantity": 1} for product in PRODUCTS]
    _expect(peer, client.get("/api/cart"), cart_json(items))
    items[0]["quantity"] = 4
    _expect(peer, client.put("/api/cart/1", json={"quantity": 4}), cart_json(items))
    _expect(peer, client.get("/api/cart"), cart_json(items))
    for count in (1, 2):
        _expect(peer, client.get("/visit-counter"), visits_json(count))


def _expect(peer: Peer, answer: httpx.Response, expected: dict[str, Any]) -> None:
    if answer.status_code != 200 or answer.json() != expected:
        request = f"{answer.request.method} {answer.request.url.path}"
        raise BenchmarkError(f"{peer.name} answers {request} with {answer.status_code} {answer.text}")


def _raw(method: str, path: str, cookie: str = "", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def lost_updates(address: str) -> int:
    """Of 200 parallel adds of one product on one session, how many were confirmed and are not in the cart."""
    return asyncio.run(_lost_updates(address))


async def _lost_updates(address: str) -> int:
    product = PRODUCTS[0] | {"quantity": 1}
    limits = httpx.Limits(max_connections=ADDS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:
        (await client.post("/api/cart/add", json=product)).raise_for_status()
        answers = await asyncio.gather(*(client.post("/api/cart/add", json=product) for _ in range(ADDS)))
        confirmed = 1 + sum(answer.status_code == 200 for answer in answers)
        cart = (await client.get("/api/cart")).json()
    return confirmed - int(cart["item_count"])
