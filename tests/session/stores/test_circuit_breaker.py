"""The circuit breaker: a hanging store costs one timeout, and a probe detects its recovery."""

import asyncio

import pytest

from cartapp.session.errors import StoreTimeout, StoreUnavailable
from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from cartapp.session.stores.timeouts import SharedTimeout
from cartapp.session.stores.wrappers.circuit_breaker import CircuitBreakerStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer

pytestmark = pytest.mark.anyio


class HangingStore(MemoryStore):
    """A store that hangs while `hanging` is true, until its timeout of 50 ms."""

    hanging = False
    calls = 0

    async def _reach(self) -> None:
        self.calls += 1
        try:
            with SharedTimeout(0.05).limit():
                while self.hanging:
                    await asyncio.Event().wait()
        except TimeoutError as error:
            raise StoreTimeout from error

    async def load(self, key: str) -> Record | None:
        await self._reach()
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        await self._reach()
        return await super().save(record, expected=expected)

    async def ping(self) -> None:
        await self._reach()


async def test_after_a_timeout_calls_fail_at_once_until_a_probe_succeeds(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartapp.session.stores.wrappers.circuit_breaker._PAUSE", 0.0)
    store = HangingStore(clock=clock)
    layer = SessionLayer(store, clock, SessionPolicy(timeout=0.05))
    cookie = await layer.begin(a=1)
    store.hanging = True
    results = await asyncio.gather(*(layer.load(cookie) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    store.calls = 0
    probe = asyncio.create_task(layer.load(cookie))
    await asyncio.sleep(0)
    results = await asyncio.gather(*(layer.load(cookie) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert store.calls == 1  # only the probe
    with pytest.raises(StoreUnavailable):
        await probe
    store.hanging = False
    assert await layer.read(cookie) == {"a": 1}


async def test_concurrent_writers_of_one_session_wait_one_timeout(clock: ManualClock) -> None:
    store = HangingStore(clock=clock)
    layer = SessionLayer(store, clock, SessionPolicy(timeout=0.05))
    cookie = await layer.begin(a=1)
    loaded = [(await layer.load(cookie))[0] for _ in range(20)]
    for session in loaded:
        session.modify("a", lambda value: value + 1)
    store.hanging = True
    store.calls = 0
    results = await asyncio.gather(*(session.save() for session in loaded), return_exceptions=True)
    assert all(isinstance(result, StoreUnavailable) for result in results)
    assert store.calls == 1


async def test_every_method_reaches_the_store(clock: ManualClock) -> None:
    breaker = CircuitBreakerStore(MemoryStore(clock=clock))
    record = Record("A" * 22, clock(), clock(), clock() + 1000, b"{}")
    version = await breaker.create(record)
    assert version is not None
    assert await breaker.touch(record.key, expected=version, last_used=clock(), expires=clock() + 2000)
    assert await breaker.load(record.key) is not None
    assert await breaker.delete(record.key)
    await breaker.ping()
    await breaker.close()
