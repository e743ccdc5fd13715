"""The faults of the matrix: those common to all servers, and those of each backend."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.servers.proxy import Proxy
from tests.support.shop_server import Shop
from tests.system.fault_matrix.places import Fault, Place

_CONCURRENCY = 120  # requests, for two processes with ten connections each


@dataclass(frozen=True)
class _Slow:
    """Responses so slow that waiting requests use all connections of a pool."""

    shop: Shop
    proxy: Proxy

    async def begin(self) -> None:
        self.proxy.delay_answers(lambda: 0.15)
        async with self.shop.client() as client:
            await asyncio.gather(*(client.get("/visit-counter") for _ in range(_CONCURRENCY)))

    async def end(self) -> None:
        self.proxy.delay_answers(None)


def fault(place: Place, name: str) -> Fault:
    """Return the functions that begin and end a fault."""
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
    """Return a momentary fault without an end."""

    async def begun() -> None:
        begin()

    async def ended() -> None:
        pass

    return begun, ended
