"""One cell of the matrix: shoppers come, a fault begins and ends, and every answer is checked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2 as httpx

from tests.running import Shop
from tests.shoppers import Crowd, crowd

from .faults import fault
from .names import RESTING
from .places import TIMEOUT, Place

LASTS = 2.5 * TIMEOUT
"""Seconds between a fault's beginning and its end."""

QUIET = 1.5 * TIMEOUT
"""Seconds without a refusal after which all is well."""


@dataclass(frozen=True)
class Figures:
    """What one fault did. A false answer fails the test, so there is no figure for it."""

    requests: int
    refused: int
    seconds: float
    """From the fault's end until the last refusal or "not ready"."""
    lost: int
    """Changes that were confirmed and are gone, and sessions."""
    not_ready: float | None
    """Seconds from the fault's beginning until `/readyz` said 503; None if it never did."""
    ready: float | None
    """Seconds from the fault's end until `/readyz` said 200 for good."""


@dataclass
class _Readiness:
    """What `/readyz` said, and when."""

    said: list[tuple[float, bool]] = field(default_factory=list)

    async def ask(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.get("/readyz")
        except httpx.TransportError:
            return  # its process is paused
        self.said.append((time.monotonic(), answer.status_code == 200))

    def first_not(self, since: float) -> float | None:
        return next((at - since for at, is_ready in self.said if at >= since and not is_ready), None)

    def last_not(self, since: float) -> float:
        return max((at - since for at, is_ready in self.said if at >= since and not is_ready), default=0.0)


async def measured(place: Place, name: str) -> Figures:
    """The figures of a fault at a place."""
    begin, end = fault(place, name)
    shop = place.shop
    assert shop is not None
    keeps = place.keeps if name == "killed" else "all"
    async with crowd(shop, keeps=keeps) as everybody, _watched(shop) as readiness:
        await everybody.more(everybody.answered, 100)
        answered, refused = everybody.answered(), everybody.refused()
        async with everybody.resting() if name in RESTING else _unchanged():
            began = time.monotonic()
            await begin()
            try:
                await asyncio.sleep(0 if name in RESTING else LASTS)
            finally:  # other faults and tests follow
                await asyncio.shield(end())
        ended = time.monotonic()
        await _all_well(everybody)
    requests = everybody.answered() - answered + everybody.refused() - refused
    return Figures(
        requests,
        everybody.refused() - refused,
        round(max(everybody.refused_at - ended, readiness.last_not(ended), 0.0), 1),
        everybody.lost() + sum(shopper.vanished for shopper in everybody.shoppers),
        readiness.first_not(began),
        round(readiness.last_not(ended), 1),
    )


async def _all_well(everybody: Crowd) -> None:
    """Wait until every shopper was answered and nobody has been refused for a while."""
    for shopper in everybody.shoppers:
        await everybody.more(lambda one=shopper: one.answered, 5)  # type: ignore[misc]
    await everybody.until(lambda: time.monotonic() - everybody.refused_at > QUIET)


@asynccontextmanager
async def _watched(shop: Shop) -> AsyncIterator[_Readiness]:
    """Ask `/readyz` again and again, each time on a connection of its own, so that each process is asked."""
    readiness = _Readiness()

    async def watch() -> None:
        while True:
            async with shop.client() as client:
                await readiness.ask(client)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(watch())
    try:
        yield readiness
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _unchanged() -> AsyncIterator[None]:
    yield
