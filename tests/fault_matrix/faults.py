"""The faults of the matrix: those that every server can have, and the names of the others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.running import Shop
from tests.servers.proxy import Proxy

from .places import Fault, Place

_CROWD = 120  # requests at once, for two processes with ten connections each


@dataclass(frozen=True)
class _Slow:
    """Answers of the server that take so long that waiting requests need all connections of a pool."""

    shop: Shop
    proxy: Proxy

    async def begin(self) -> None:
        self.proxy.delay_answers(lambda: 0.15)
        async with self.shop.client() as client:
            await asyncio.gather(*(client.get("/visit-counter") for _ in range(_CROWD)))

    async def end(self) -> None:
        self.proxy.delay_answers(None)


def fault(place: Place, name: str) -> Fault:
    """What begins and ends a fault."""
    assert place.shop is not None
    common: dict[str, Fault] = {"paused": _threaded(place.shop.server.pause, place.shop.server.resume)}
    if place.server is not None:
        common["killed"] = _threaded(place.server.kill, place.server.start)
        common["hangs"] = _threaded(place.server.pause, place.server.resume)
    if place.proxy is not None:
        slow = _Slow(place.shop, place.proxy)
        common["closed"] = _called(place.proxy.cut)
        common["swallowed"] = _called(place.proxy.swallow)
        common["exhausted"] = slow.begin, slow.end
    return {**common, **place.own}[name]


def _threaded(begin: Callable[[], None], end: Callable[[], None]) -> Fault:
    async def begun() -> None:
        await asyncio.to_thread(begin)

    async def ended() -> None:
        await asyncio.to_thread(end)

    return begun, ended


def _called(begin: Callable[[], None]) -> Fault:
    """A fault that happens at once and does not end."""

    async def begun() -> None:
        begin()

    async def ended() -> None:
        pass

    return begun, ended
