"""One cell of the matrix: clients send requests during a fault, and every response is checked."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2 as httpx

from tests.support.cart_load import CartLoad, cart_load
from tests.support.shop_server import Shop
from tests.system.fault_matrix.faults import fault
from tests.system.fault_matrix.names import ENDS_SERVER, IDLE_FAULTS
from tests.system.fault_matrix.places import TIMEOUT, Place

DURATION = 2.5 * TIMEOUT
"""Duration of a fault in seconds."""

QUIET = 1.5 * TIMEOUT
"""Seconds without a 503 until the shop counts as recovered."""


@dataclass(frozen=True)
class Figures:
    """Effects of one fault; false responses are not counted, since they fail the test."""

    requests: int
    refused: int
    seconds: float
    """From the fault's end until the last 503 or "not ready"."""
    lost: int
    """Confirmed changes and sessions that disappeared."""
    not_ready: float | None
    """Seconds from the fault's start until `/readyz` returned 503; None if it never did."""
    ready: float | None
    """Seconds from the fault's end until `/readyz` returned only 200."""


@dataclass
class _Readiness:
    """Results of `/readyz` with their times."""

    results: list[tuple[float, bool]] = field(default_factory=list)

    async def ask(self, client: httpx.AsyncClient) -> None:
        try:
            response = await client.get("/readyz")
        except httpx.TransportError:
            return  # its process is paused
        self.results.append((time.monotonic(), response.status_code == 200))

    def first_not(self, since: float) -> float | None:
        return next((at - since for at, is_ready in self.results if at >= since and not is_ready), None)

    def last_not(self, since: float) -> float:
        return max((at - since for at, is_ready in self.results if at >= since and not is_ready), default=0.0)


async def measure(place: Place, name: str) -> Figures:
    """Measure the effects of a fault on a backend."""
    begin, end = fault(place, name)
    shop = place.shop
    assert shop is not None
    keeps = place.keeps if name in ENDS_SERVER else "all"
    async with cart_load(shop, keeps=keeps) as load, _watch_readiness(shop) as readiness:
        await load.wait_for_increase(load.answered, 50)
        answered, refused = load.answered(), load.refused()
        async with load.paused() if name in IDLE_FAULTS else _unchanged():
            began = time.monotonic()
            await begin()
            try:
                with load.slowed():  # at full speed when the fault begins and when it ends
                    await asyncio.sleep(0 if name in IDLE_FAULTS else DURATION)
            finally:  # other faults and tests follow
                await asyncio.shield(end())
        ended = time.monotonic()
        await _wait_for_recovery(load)
    requests = load.answered() - answered + load.refused() - refused
    return Figures(
        requests,
        load.refused() - refused,
        round(max(load.refused_at - ended, readiness.last_not(ended), 0.0), 1),
        load.lost() + sum(shopper.vanished for shopper in load.shoppers),
        readiness.first_not(began),
        round(readiness.last_not(ended), 1),
    )


async def _wait_for_recovery(load: CartLoad) -> None:
    """Wait until every client has received responses, and none a 503 for a while."""
    for shopper in load.shoppers:
        await load.wait_for_increase(lambda one=shopper: one.answered, 5)  # type: ignore[misc]
    with load.slowed():
        await load.wait_until(lambda: time.monotonic() - load.refused_at > QUIET)


@asynccontextmanager
async def _watch_readiness(shop: Shop) -> AsyncIterator[_Readiness]:
    """Request `/readyz` repeatedly, each time on a new connection, to reach each process."""
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
