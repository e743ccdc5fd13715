"""How long a session lives: idle and absolute expiry, and the keep-alive."""

import pytest

from cartapp.session.policy import Policy
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.layer import Layer, Yielding

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[MemoryStore, Yielding])
def layer(clock: ManualClock, request: pytest.FixtureRequest) -> Layer:
    return Layer(request.param(clock=clock), clock)


async def test_idle_expiry_lies_between_one_and_one_tenth_more(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(359.999)  # used just before keep-alive is due: this use is not stored
    session, _ = await layer.visit(cookie)
    await session.save()
    clock.advance(3600)
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(0.001)
    assert await layer.read(cookie) == {}


async def test_keep_alive_is_stored_once_in_a_tenth(clock: ManualClock) -> None:
    touches = []

    class Counting(MemoryStore):
        async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            touches.append(last_used)
            return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    layer = Layer(Counting(clock=clock), clock)
    cookie = await layer.begin(a=1)
    for _ in range(100):
        clock.advance(36)
        session, _ = await layer.visit(cookie)
        await session.save()
    assert len(touches) == 10
    assert session.last_used_at is not None
    assert session.last_used_at.timestamp() * 1000 == clock()


async def test_regenerate_does_not_prolong_the_absolute_lifetime(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    session, visit = await layer.visit(cookie)
    born = session.created_at
    clock.advance(1000)
    session.regenerate()
    await session.save()
    assert session.created_at == born
    assert visit.seconds_left(session) == 604800 - 1000


async def test_shorter_settings_hold_for_older_records(layer: Layer, clock: ManualClock) -> None:
    cookie = await layer.begin(a=1)
    clock.advance(200)
    strict = Layer(layer.store, clock, Policy(ttl=100))
    assert await strict.read(cookie) == {}
    assert await layer.read(cookie) == {"a": 1}


async def test_expiry_holds_where_the_server_lags(clock: ManualClock) -> None:
    class Lagging(MemoryStore):
        async def load(self, key: str) -> Record | None:
            return self._records.get(key)

    layer = Layer(Lagging(clock=clock), clock)
    cookie = await layer.begin(a=1)
    clock.advance(3960)
    assert await layer.read(cookie) == {}
