"""The guard before a store: one that hangs costs one wait, and one that is back is found by a probe."""

import asyncio

import pytest

from cartapp.session import (
    StoreUnavailable,
)
from cartapp.session.guard import GuardedStore
from cartapp.session.policy import Policy
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer

pytestmark = pytest.mark.anyio


class Switched(MemoryStore):
    """A store that hangs while it is told to."""

    hanging = False
    calls = 0

    async def _reach(self) -> None:
        self.calls += 1
        if self.hanging:
            await asyncio.Event().wait()

    async def load(self, key: str) -> Record | None:
        await self._reach()
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await self._reach()
        return await super().save(record, expected=expected)

    async def ping(self) -> None:
        await self._reach()


async def test_after_a_time_out_calls_fail_at_once_until_a_probe_succeeds(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartapp.session.guard._PROBE_EVERY", 0.0)
    store = Switched(clock=clock)
    layer = Layer(store, clock, Policy(timeout=0.05))
    cookie = await layer.begin(a=1)
    store.hanging = True
    results = await asyncio.gather(*(layer.visit(cookie) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    store.calls = 0
    probe = asyncio.create_task(layer.visit(cookie))
    await asyncio.sleep(0)
    results = await asyncio.gather(*(layer.visit(cookie) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert store.calls == 1  # the probe alone
    with pytest.raises(StoreUnavailable):
        await probe
    store.hanging = False
    assert await layer.read(cookie) == {"a": 1}


async def test_waiting_writers_of_one_session_wait_one_time_out(clock: ManualClock) -> None:
    store = Switched(clock=clock)
    layer = Layer(store, clock, Policy(timeout=0.05))
    cookie = await layer.begin(a=1)
    loaded = [(await layer.visit(cookie))[0] for _ in range(20)]
    for session in loaded:
        session.modify("a", lambda value: value + 1)
    store.hanging = True
    store.calls = 0
    results = await asyncio.gather(*(session.save() for session in loaded), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert store.calls == 1


async def test_the_guard_passes_on_every_method(clock: ManualClock) -> None:
    guarded = GuardedStore(MemoryStore(clock=clock), 1.0)
    record = Record("A" * 22, clock(), clock(), clock() + 1000, b"{}")
    version = await guarded.create(record)
    assert version is not None
    assert await guarded.touch(record.key, expected=version, last_used=clock(), expires=clock() + 2000)
    assert await guarded.load(record.key) is not None
    assert await guarded.delete(record.key)
    await guarded.ping()
    await guarded.close()
