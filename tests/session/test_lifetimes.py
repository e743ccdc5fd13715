"""Lifetimes: idle and absolute expiry, and keep-alive."""

import pytest

from cartapp.session.policy import SessionPolicy
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer, YieldingStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[MemoryStore, YieldingStore])
def layer(clock: ManualClock, request: pytest.FixtureRequest) -> SessionLayer:
    return SessionLayer(request.param(clock=clock), clock)


async def test_idle_expiry_is_between_1_0_and_1_1_ttl(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(359.999)  # just before the keep-alive is due: this use is not stored
    session, _ = await layer.load(cookie)
    await session.save()
    clock.advance(3600)
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(0.001)
    assert await layer.read(cookie) == {}


async def test_keep_alive_is_stored_once_per_tenth_of_the_ttl(clock: ManualClock) -> None:
    touches = []

    class Counting(MemoryStore):
        async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            touches.append(last_used)
            return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    layer = SessionLayer(Counting(clock=clock), clock)
    cookie = await layer.begin(a=1)
    for _ in range(100):
        clock.advance(36)
        session, _ = await layer.load(cookie)
        await session.save()
    assert len(touches) == 10
    assert session.last_used_at is not None
    assert session.last_used_at.timestamp() * 1000 == clock()


async def test_regenerate_keeps_the_absolute_lifetime(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    session, request_session = await layer.load(cookie)
    born = session.created_at
    clock.advance(1000)
    session.regenerate()
    await session.save()
    assert session.created_at == born
    assert request_session.seconds_left(session) == 604800 - 1000


async def test_shorter_lifetimes_apply_to_existing_records(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(200)
    strict = SessionLayer(layer.store, clock, SessionPolicy(ttl=100))
    assert await strict.read(cookie) == {}
    assert await layer.read(cookie) == {"a": 1}


async def test_expiry_applies_before_the_server_removes_the_record(clock: ManualClock) -> None:
    class Lagging(MemoryStore):
        async def load(self, key: str) -> Record | None:
            return self._records.get(key)

    layer = SessionLayer(Lagging(clock=clock), clock)
    cookie = await layer.begin(a=1)
    clock.advance(3960)
    assert await layer.read(cookie) == {}
