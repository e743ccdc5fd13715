"""HTTP clients that fill their carts and check each response while a test disturbs the server.

The counterpart of `session_load` for the whole application with two processes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import httpx2 as httpx

from cartapp.session.record import new_id
from tests.support.polling import DEADLINE
from tests.support.request_loops import RequestLoops
from tests.support.shop import EMPTY, KEYBOARD
from tests.support.shop_server import Shop

Keeps = Literal["all", "replicated", "nothing"]
"""Data that survives an outage: all confirmed writes, those replicated to another server, or none."""


@dataclass
class CartClient:
    """A client that adds keyboards to its cart, reads the cart in between and checks each response."""

    client: httpx.AsyncClient
    keeps: Keeps
    count: int = 0
    """Last confirmed number of keyboards; there may be up to `unknown` more from unconfirmed writes."""
    unknown: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    """Confirmed keyboards that disappeared."""
    vanished: int = 0
    """Number of times the whole session disappeared."""
    refused_at: float = 0.0
    """Time of the last 503 on the monotonic clock."""
    _requests: int = 0

    async def send(self) -> None:
        """Send one request."""
        self._requests += 1
        writes = self._requests % 3 != 0
        method, path = ("POST", "/api/cart/add") if writes else ("GET", "/api/cart")
        try:
            response = await self.client.request(method, path, json=KEYBOARD if writes else None)
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # its process was killed
            self.unknown += writes
            return
        if response.status_code == 503:
            assert int(response.headers["Retry-After"]) > 0
            assert "Set-Cookie" not in response.headers
            self.unknown += writes
            self.refused += 1
            self.refused_at = time.monotonic()
        elif response.status_code == 409:  # the session vanished between loading and saving
            assert self.keeps != "all"
        else:
            assert response.status_code == 200, response.text
            self._check_count(response, wrote=writes)
            self.answered += 1

    def _check_count(self, response: httpx.Response, *, wrote: bool) -> None:
        number = response.json()["item_count"]
        is_new = "Set-Cookie" in response.headers if wrote else number == 0
        if is_new and self.count:
            assert self.keeps != "all"
            self.vanished += 1
            self.count = self.unknown = 0
        least = self.count + wrote
        assert number <= least + self.unknown
        if number < least:
            assert self.keeps == "replicated"
            self.lost += least - number
        self.count = number
        if wrote:  # earlier writes in flight fail their compare-and-set from now on
            self.unknown = 0

    async def check(self) -> None:
        """Wait for a successful response and check it."""
        before = self.answered
        async with asyncio.timeout(DEADLINE):
            while self.answered == before:
                self._requests = 2  # the next request only reads
                await self.send()


@dataclass
class InvariantClient:
    """Checks of invariants for clients without a cart: a user, a guest and a forged session ID."""

    client: httpx.AsyncClient
    member: httpx.AsyncClient
    keeps: Keeps
    is_in: bool = True

    async def send(self) -> None:
        """Send one request of each kind."""
        for path, expected in (("/healthz", {"status": "ok"}), ("/api/cart", EMPTY)):
            response = await self._get(self.client, path)
            assert response is None or (response.status_code, response.json()) == (200, expected)
        forged = await self._get(self.client, "/api/cart", {"Cookie": f"cart_session={new_id()}"})
        if forged is not None and forged.status_code != 503:
            assert (forged.status_code, forged.json()) == (200, EMPTY)
            assert "Set-Cookie" not in forged.headers
        page = await self._get(self.member, "/dashboard")
        if page is None or page.status_code == 503:
            return
        if page.status_code == 303:  # the session is lost, and the user stays logged out
            assert self.keeps != "all"
            self.is_in = False
        assert (page.status_code, "Ada" in page.text) == ((200, True) if self.is_in else (303, False))

    async def _get(
        self, client: httpx.AsyncClient, path: str, headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        try:
            return await client.get(path, headers=headers)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return None


class CartLoad(RequestLoops):
    """All clients. Each sends one request after the other."""

    def __init__(self, shoppers: Sequence[CartClient]) -> None:
        super().__init__()
        self.shoppers = shoppers

    def answered(self) -> int:
        return sum(shopper.answered for shopper in self.shoppers)

    def refused(self) -> int:
        return sum(shopper.refused for shopper in self.shoppers)

    @property
    def refused_at(self) -> float:
        """Time of the last 503 to any client on the monotonic clock."""
        return max(shopper.refused_at for shopper in self.shoppers)

    def lost(self) -> int:
        return sum(shopper.lost for shopper in self.shoppers)


@asynccontextmanager
async def cart_load(shop: Shop, *, keeps: Keeps, shoppers: int = 8) -> AsyncIterator[CartLoad]:
    """Run clients until the block ends, then check each client's cart."""
    async with shop.client() as guest, shop.client() as member:
        user = {"email": f"{new_id()}@example.com", "name": "Ada", "password": "a long phrase of mine"}
        response = await member.post("/register", json=user)
        assert response.status_code == 201, (response.text, shop.server.output)
        load = CartLoad([CartClient(shop.client(), keeps) for _ in range(shoppers)])
        invariants = InvariantClient(guest, member, keeps)
        requests = [(shopper.send, 0.005) for shopper in load.shoppers]
        async with load.running(*requests, (invariants.send, 0.05)):
            yield load
        for shopper in load.shoppers:
            await shopper.check()
            await shopper.client.aclose()
