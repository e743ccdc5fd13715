"""Browsers that fill their carts while a test does something to the server: was every answer they got true?

What `traffic` does with the session layer alone, here through the whole application and two processes of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import httpx2 as httpx

from cartapp.session.record import new_id

from .rounds import Rounds
from .running import Shop
from .shop import EMPTY, KEYBOARD
from .waiting import DEADLINE

Keeps = Literal["all", "replicated", "nothing"]
"""What the server still has when it is back: all it confirmed, what another one had received, or nothing."""


@dataclass
class Shopper:
    """Puts one keyboard after the other into a cart, looks at it in between, and checks what it is told."""

    client: httpx.AsyncClient
    keeps: Keeps
    count: int = 0
    """What it was told last; there may be up to `unknown` more, of which no answer told."""
    unknown: int = 0
    answered: int = 0
    refused: int = 0
    lost: int = 0
    """Keyboards that had been confirmed and were gone later."""
    vanished: int = 0
    """How often the whole session was gone."""
    refused_at: float = 0.0
    """When it was refused last, on the monotonic clock."""
    _turns: int = 0

    async def come(self) -> None:
        """One request."""
        self._turns += 1
        writes = self._turns % 3 != 0
        method, path = ("POST", "/api/cart/add") if writes else ("GET", "/api/cart")
        try:
            answer = await self.client.request(method, path, json=KEYBOARD if writes else None)
        except (httpx.NetworkError, httpx.RemoteProtocolError):  # its process was killed
            self.unknown += writes
            return
        if answer.status_code == 503:
            assert int(answer.headers["Retry-After"]) > 0
            assert "Set-Cookie" not in answer.headers
            self.unknown += writes
            self.refused += 1
            self.refused_at = time.monotonic()
        elif answer.status_code == 409:  # the session vanished between loading and saving
            assert self.keeps != "all"
        else:
            assert answer.status_code == 200, answer.text
            self._told(answer, wrote=writes)
            self.answered += 1

    def _told(self, answer: httpx.Response, *, wrote: bool) -> None:
        number = answer.json()["item_count"]
        is_new = "Set-Cookie" in answer.headers if wrote else number == 0
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
        if wrote:  # whatever was under way before comes too late now: it does not compare any more
            self.unknown = 0

    async def check(self) -> None:
        """When all is over an answer comes, and a true one."""
        before = self.answered
        async with asyncio.timeout(DEADLINE):
            while self.answered == before:
                self._turns = 2  # so that it looks and adds nothing
                await self.come()


@dataclass
class Onlooker:
    """What must hold all the time for who has no cart: a member, a stranger, and one with a made-up id."""

    client: httpx.AsyncClient
    member: httpx.AsyncClient
    keeps: Keeps
    is_in: bool = True

    async def come(self) -> None:
        """One look at everything."""
        for path, expected in (("/healthz", {"status": "ok"}), ("/api/cart", EMPTY)):
            answer = await self._get(self.client, path)
            assert answer is None or (answer.status_code, answer.json()) == (200, expected)
        forged = await self._get(self.client, "/api/cart", {"Cookie": f"cart_session={new_id()}"})
        if forged is not None and forged.status_code != 503:
            assert (forged.status_code, forged.json()) == (200, EMPTY)
            assert "Set-Cookie" not in forged.headers
        page = await self._get(self.member, "/dashboard")
        if page is None or page.status_code == 503:
            return
        if page.status_code == 303:  # who has lost the session is out, and stays out
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


class Crowd(Rounds):
    """All of them."""

    def __init__(self, shoppers: Sequence[Shopper]) -> None:
        super().__init__()
        self.shoppers = shoppers

    def answered(self) -> int:
        return sum(shopper.answered for shopper in self.shoppers)

    def refused(self) -> int:
        return sum(shopper.refused for shopper in self.shoppers)

    @property
    def refused_at(self) -> float:
        """When a shopper was refused last, on the monotonic clock."""
        return max(shopper.refused_at for shopper in self.shoppers)

    def lost(self) -> int:
        return sum(shopper.lost for shopper in self.shoppers)


@asynccontextmanager
async def crowd(shop: Shop, *, keeps: Keeps, shoppers: int = 8) -> AsyncIterator[Crowd]:
    """Browsers that come until the block ends; then each one's cart is looked at."""
    async with shop.client() as stranger, shop.client() as member:
        user = {"email": f"{new_id()}@example.com", "name": "Ada", "password": "a long phrase of mine"}
        answer = await member.post("/register", json=user)
        assert answer.status_code == 201, (answer.text, shop.server.output)
        running = Crowd([Shopper(shop.client(), keeps) for _ in range(shoppers)])
        onlooker = Onlooker(stranger, member, keeps)
        everybody = [(shopper.come, 0.005) for shopper in running.shoppers]
        async with running.of(*everybody, (onlooker.come, 0.05)):
            yield running
        for shopper in running.shoppers:
            await shopper.check()
            await shopper.client.aclose()
