"""The faults of the matrix: those that every server can have, and the names of the others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .places import Fault, Place, Step

FAULTS = {
    "killed": "server killed, started again",
    "hangs": "server hangs",
    "read-only": "server read-only",
    "closed": "idle connections closed by the server",
    "swallowed": "idle connections swallowed by the network",
    "exhausted": "pool exhausted",
    "paused": "application paused",
    "full": "disk or memory full",
    "no rights": "right to write missing",
    "no table": "table missing",
    "moved": "name moved to a new primary",
}
"""Each fault, as the table names it; the last one leaves a place with another server."""

RESTING = ("closed", "swallowed")
"""Faults that happen while no request comes."""

_CROWD = 120  # requests at once, for two processes with ten connections each


@dataclass(frozen=True)
class _Slow:
    """Answers of the server that take so long that waiting requests need all connections of a pool."""

    place: Place

    async def begin(self) -> None:
        self.place.proxy.delay_answers(lambda: 0.15)
        assert self.place.shop is not None
        async with self.place.shop.client() as client:
            await asyncio.gather(*(client.get("/visit-counter") for _ in range(_CROWD)))

    async def end(self) -> None:
        self.place.proxy.delay_answers(None)


def fault(place: Place, name: str) -> Fault | None:
    """What begins and ends a fault; None where the backend cannot have it, or it was not tried."""
    if name in place.own:
        return place.own[name]
    proxy, server, shop = place.proxy, place.server, place.shop
    assert shop is not None
    slow = _Slow(place)
    common: dict[str, Fault] = {
        "killed": (_threaded(server.kill), _threaded(server.start)),
        "hangs": (_threaded(server.pause), _threaded(server.resume)),
        "closed": (_called(proxy.cut), _nothing),
        "swallowed": (_called(proxy.swallow), _nothing),
        "exhausted": (slow.begin, slow.end),
        "paused": (_threaded(shop.server.pause), _threaded(shop.server.resume)),
    }
    return common.get(name)


def _threaded(call: Callable[[], None]) -> Step:
    async def step() -> None:
        await asyncio.to_thread(call)

    return step


def _called(call: Callable[[], None]) -> Step:
    async def step() -> None:
        call()

    return step


async def _nothing() -> None:
    pass
