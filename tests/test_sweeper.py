"""The sweeper: expired records go, live ones stay, outages pass."""

import asyncio
import logging

import pytest

from cartapp.session import StoreUnavailable
from cartapp.session.stores.cookie import NoStore
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.sweeper import sweeping
from tests.conftest import ManualClock
from tests.stores import HOUR, make_record

pytestmark = pytest.mark.anyio


class Watched(MemoryStore):
    """Tells when it was purged, and fails the first time."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.purged = asyncio.Event()
        self.calls = 0

    async def purge(self, now: int) -> int:
        self.calls += 1
        if self.calls == 1:
            raise StoreUnavailable("not yet")
        removed = await super().purge(now)
        self.purged.set()
        return removed


async def test_expired_records_go_and_an_outage_passes(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = Watched(clock)
    old, live = make_record(clock()), make_record(clock(), expires=clock() + 3 * HOUR)
    await store.create(old)
    await store.create(live)
    clock.advance(7200)
    async with sweeping(store, every=0.001, clock=clock):
        async with asyncio.timeout(10):
            await store.purged.wait()
    assert set(store._records) == {live.key}
    assert "not removed: not yet" in caplog.text
    assert "1 expired sessions were removed" in caplog.text
    calls = store.calls
    await asyncio.sleep(0.01)
    assert store.calls == calls, "it goes on after its end"


async def test_a_store_that_cannot_be_purged_is_left_alone() -> None:
    before = asyncio.all_tasks()
    async with sweeping(NoStore(), every=0.0):
        assert asyncio.all_tasks() == before
