"""`Session.set_lifetime`: an idle timeout, an absolute lifetime and a kind of cookie for one session."""

from datetime import timedelta
from typing import Any

import pytest

from cartapp.session import CookieOptions, KeyRing, SessionPolicy, Sessions, new_secret
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.starlette_app import AppFactory, client
from tests.support.stores import STORES

pytestmark = pytest.mark.anyio

DAY = 86400


@pytest.fixture(params=["memory", "file", "redis", "database-sqlite"])
async def layer(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    store = STORES[request.param](request, clock)()
    yield SessionLayer(store, clock)
    await store.close()


async def begin(layer: SessionLayer, *args: Any, **options: Any) -> str:
    """Return the cookie of a session with a lifetime of its own."""
    session, request_session = await layer.load()
    session["a"] = 1
    session.set_lifetime(*args, **options)
    await session.save()
    return str(request_session.cookie())


async def is_live(layer: SessionLayer, cookie: str) -> bool:
    return "a" in await layer.read(cookie)


async def test_a_short_idle_timeout(layer: SessionLayer, clock: ManualClock) -> None:
    cookie, other = await begin(layer, ttl=60), await begin(layer)
    for _ in range(5):  # each use is stored, although the interval of the policy is longer
        clock.advance(59)
        session, _request = await layer.load(cookie)
        await session.save()
    clock.advance(65.999)
    assert await is_live(layer, cookie)
    clock.advance(0.001)
    assert not await is_live(layer, cookie)
    assert await is_live(layer, other)


async def test_a_long_idle_timeout(layer: SessionLayer, clock: ManualClock) -> None:
    cookie, other = await begin(layer, timedelta(days=3)), await begin(layer)
    clock.advance(3 * DAY)
    assert await is_live(layer, cookie)
    assert not await is_live(layer, other)
    clock.advance(360)
    assert not await is_live(layer, cookie)


async def test_an_absolute_lifetime(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await begin(layer, max_age=1000)
    for _ in range(3):
        clock.advance(333)
        session, request_session = await layer.load(cookie)
        await session.save()
    assert request_session.seconds_left(session) == 1
    clock.advance(1)
    assert not await is_live(layer, cookie)


async def test_the_store_has_the_expiry(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await begin(layer, ttl=60)
    session, _ = await layer.load(cookie)
    assert session.expires_at is not None
    assert session.expires_at.timestamp() * 1000 == clock() + 66_000


async def test_a_keep_alive_of_a_long_timeout_is_stored_as_often_as_usual(
    layer: SessionLayer, clock: ManualClock
) -> None:
    cookie = await begin(layer, ttl=6 * DAY)
    clock.advance(DAY)
    session, _ = await layer.load(cookie)
    await session.save()
    clock.advance(360)
    session, _ = await layer.load(cookie)
    await session.save()
    (info,) = [info async for info in Sessions(layer.store, clock=clock).find()]
    assert info.last_seen.timestamp() * 1000 == clock()
    sessions, step = Sessions(layer.store, clock=clock), timedelta(seconds=360)
    clock.advance(DAY)
    assert await sessions.end_idle(timedelta(days=1), step=step) == 0
    assert await is_live(layer, cookie)


async def test_rotation_keeps_it_and_clear_removes_it(layer: SessionLayer, clock: ManualClock) -> None:
    cookie = await begin(layer, ttl=2 * DAY)
    session, request_session = await layer.load(cookie)
    session.log_in("7")
    await session.save()
    cookie = str(request_session.cookie())
    clock.advance(DAY)
    session, _ = await layer.load(cookie)
    assert session.user_id == "7"
    session.clear()
    session["a"] = 1
    await session.save()
    clock.advance(3960)
    assert not await is_live(layer, cookie)


async def test_no_argument_restores_the_settings_of_the_application(
    layer: SessionLayer, clock: ManualClock
) -> None:
    cookie = await begin(layer, ttl=60)
    session, _ = await layer.load(cookie)
    session.set_lifetime()
    await session.save()
    assert await layer.read(cookie) == {"a": 1}
    clock.advance(3599)
    assert await is_live(layer, cookie)


async def test_a_lowered_limit_applies(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    cookie = await begin(SessionLayer(store, clock), ttl=3 * DAY, max_age=3 * DAY)
    clock.advance(DAY)
    assert await is_live(SessionLayer(store, clock), cookie)
    assert not await is_live(SessionLayer(store, clock, SessionPolicy(max_age=DAY)), cookie)


@pytest.mark.parametrize(
    "value", [7, {"ttl": "x"}, {"ttl": -1}, {"max_age": 0}, {"ttl": 1e300}, {"persistent": 3}, []]
)
async def test_an_impossible_stored_value_has_no_effect(value: object, clock: ManualClock) -> None:
    layer = SessionLayer(MemoryStore(clock=clock), clock)
    cookie = await layer.begin(a=1, _lifetime=value)
    clock.advance(3959)
    assert await is_live(layer, cookie)
    clock.advance(1)
    assert not await is_live(layer, cookie)


async def test_other_values_of_this_name_have_no_effect(clock: ManualClock) -> None:
    layer = SessionLayer(MemoryStore(clock=clock), clock)
    cookie = await layer.begin(a={"_lifetime": {"ttl": 1}}, b='{"_lifetime": {"ttl": 1}}')
    clock.advance(3959)
    assert await is_live(layer, cookie)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ttl": 0}, "ttl: expected seconds above 0, at most 315360000 (ten years), got 0."),
        ({"ttl": "1h"}, "ttl: expected a number of seconds, got '1h'."),
        ({"max_age": timedelta(0)}, "max_age: expected seconds above 0"),
        ({"max_age": 604801}, "max_age: expected at most that of the policy, 604800, got 604801."),
        ({"persistent": 1}, "persistent: expected True or False, got 1."),
    ],
)
async def test_bad_arguments_change_nothing(
    options: dict[str, Any], sentence: str, clock: ManualClock
) -> None:
    session, _ = await SessionLayer(MemoryStore(clock=clock), clock).load()
    with pytest.raises((TypeError, ValueError)) as caught:
        session.set_lifetime(**options)
    assert str(caught.value).startswith(f"Session.set_lifetime: {sentence}")
    assert not session


# -- the cookie ---------------------------------------------------------------------------------------------


@pytest.fixture(params=[None, "encrypted", "cookie"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param is None:
        return {}
    keys = {"keys": KeyRing(new_secret())}
    return keys if request.param == "encrypted" else {**keys, "store": "cookie://"}


@pytest.mark.parametrize("persistent", [True, False])
async def test_remember_me(wrap: AppFactory, options: dict[str, Any], persistent: bool) -> None:
    app = wrap(cookie=CookieOptions(persistent=not persistent), **options)
    async with client(app) as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
        assert ("; Max-Age=604800" in header) is not persistent
        header = (await http.post("/lifetime", json={"persistent": persistent})).headers["set-cookie"]
        assert ("; Max-Age=604800" in header) is persistent
        assert "set-cookie" not in (await http.get("/view")).headers
        assert (await http.get("/view")).json()["session"]["a"] == 1
        header = (await http.post("/rotate")).headers["set-cookie"]
        assert ("; Max-Age=604800" in header) is persistent


async def test_the_cookie_follows_the_absolute_lifetime(
    wrap: AppFactory, options: dict[str, Any], clock: ManualClock
) -> None:
    async with client(wrap(**options)) as http:
        await http.post("/update", json={"a": 1})
        clock.advance(100)
        header = (await http.post("/lifetime", json={"max_age": 1000})).headers["set-cookie"]
        assert "; Max-Age=900;" in header
        clock.advance(900)
        assert (await http.get("/view")).json() == {"session": {}}
