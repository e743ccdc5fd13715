"""A flash message is shown exactly once, and lost only with its response (promise 3).

In the library and on each page of the shop that shows messages.
"""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.session import SessionEnded, StoreUnavailable
from cartapp.session.record import Record, Version
from tests.conftest import ManualClock
from tests.support.outages import ShopUnderTest, database_file_outage, shop_under_test
from tests.support.pausable_store import PausableStore
from tests.support.polling import poll_until
from tests.support.session_layer import SessionLayer
from tests.support.shop import ALICE, HTTPS, browser, messages
from tests.support.stores import STORES

pytestmark = pytest.mark.anyio


# -- the layer ----------------------------------------------------------------------------------------------


class CountsSaves(PausableStore):
    """A store that counts its saves."""

    saves = 0

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        self.saves += 1
        return await super().save(record, expected=expected)


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, clock: ManualClock) -> AsyncIterator[CountsSaves]:
    opened = CountsSaves(STORES[request.param](request, clock)())
    yield opened
    await opened.close()


async def queued(layer: SessionLayer, *texts: str) -> str:
    """Return the cookie of a session with these messages, and one for another page."""
    session, request_session = await layer.load()
    for text in texts:
        session.flash("cart", text, "info")
    session.flash("other", "waits")
    await session.save()
    return str(request_session.cookie())


async def test_flashes_of_every_key_for_a_base_template(layer: SessionLayer, store: CountsSaves) -> None:
    cookie = await queued(layer, "one", "two")
    store.saves = 0
    session, _ = await layer.load(cookie)
    expected = [("one", "info"), ("two", "info"), ("waits", None)]
    assert await session.take_flashes() == expected
    assert store.saves == 1
    assert await session.take_flashes() == []
    assert store.saves == 1
    session.flash("cart", "three")
    assert session.flashes() == [("three", None)]
    assert session.flashes() == session.flashes("cart") == []


async def test_flashes_reads_one_key_without_a_commit(layer: SessionLayer, store: CountsSaves) -> None:
    session, _ = await layer.load(await queued(layer, "one", "two"))
    store.saves = 0
    assert session.flashes("cart") == [("one", "info"), ("two", "info")]
    assert session.flash("other") == "waits"
    assert store.saves == 0


@pytest.mark.promise(3)
async def test_of_concurrent_pages_one_gets_each_message_of_every_key(layer: SessionLayer) -> None:
    cookie = await queued(layer, "one", "two")
    sessions = [(await layer.load(cookie))[0] for _ in range(10)]
    taken = await asyncio.gather(*(session.take_flashes() for session in sessions))
    assert sorted(value for found in taken for value, _ in found) == ["one", "two", "waits"]


@pytest.mark.promise(3)
async def test_take_flashes_removes_all_messages_in_one_commit(
    layer: SessionLayer, store: CountsSaves
) -> None:
    cookie = await queued(layer, "a", "b", "c")
    store.saves = 0
    session, _ = await layer.load(cookie)
    assert await session.take_flashes("cart") == [("a", "info"), ("b", "info"), ("c", "info")]
    assert store.saves == 1
    assert await session.take_flashes("cart") == []
    assert store.saves == 1
    later, _ = await layer.load(cookie)
    assert await later.take_flashes("cart") == []
    assert await later.take_flashes("other") == [("waits", None)]


@pytest.mark.promise(3)
async def test_concurrent_pages_of_two_processes_show_each_message_once(
    layer: SessionLayer, store: CountsSaves, clock: ManualClock
) -> None:
    cookie = await queued(layer, "a", "b", "c")
    layers = [layer, SessionLayer(store, clock)] * 4
    sessions = [(await each.load(cookie))[0] for each in layers]
    taken = await asyncio.gather(*(session.take_flashes("cart") for session in sessions))
    assert sorted(text for each in taken for text, _ in each) == ["a", "b", "c"]


@pytest.mark.promise(3)
async def test_a_message_queued_concurrently_is_taken_as_well(layer: SessionLayer) -> None:
    cookie = await queued(layer, "a")
    page, _ = await layer.load(cookie)
    form, _ = await layer.load(cookie)
    form.flash("cart", "b")
    await form.save()
    assert await page.take_flashes("cart") == [("a", "info"), ("b", None)]
    assert await layer.read(cookie) == {"_flash": {"other": [["waits", None]]}}


@pytest.mark.promise(3)
async def test_messages_remain_if_their_removal_fails(layer: SessionLayer, store: CountsSaves) -> None:
    cookie = await queued(layer, "a", "b")
    page, _ = await layer.load(cookie)
    store.failing = {"save"}
    with pytest.raises(StoreUnavailable):
        await page.take_flashes("cart")
    store.failing = set()
    page, _ = await layer.load(cookie)
    rotating, request_session = await layer.load(cookie)
    rotating.regenerate()
    await rotating.save()
    with pytest.raises(SessionEnded):
        await page.take_flashes("cart")
    again, _ = await layer.load(request_session.cookie())
    assert await again.take_flashes("cart") == [("a", "info"), ("b", "info")]


# -- the pages ----------------------------------------------------------------------------------------------

PAGES: dict[str, list[tuple[str, dict[str, str], str]]] = {
    "/cart": [
        ("/cart/add", {"product_id": "1"}, "Added to cart: Wireless Keyboard"),
        ("/cart/add", {"product_id": "2"}, "Added to cart: USB-C Hub"),
    ],
    "/preferences": [("/preferences", {"theme": "dark"}, "Preferences saved")],
    "/profile": [("/profile/update", {"name": "Alice"}, "Profile updated successfully")],
    "/dashboard": [("/account/sessions/end-others", {}, "All other sessions ended")],
}
"""For each page the form that queues a message, and the message."""


@pytest.fixture(params=["file", "redis-read-only"])
async def target(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ShopUnderTest]:
    """The shop with a closed catalogue, which its pages load from the database."""
    async with shop_under_test(request.param, request, monkeypatch, catalog="closed") as found:
        yield found


@pytest.fixture
async def http(target: ShopUnderTest) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(target.app, headers={"Accept": "text/html", "Origin": HTTPS}) as client:
        assert (await client.post("/register", data=ALICE)).status_code == 303
        yield client


@pytest.mark.parametrize("outage", ["database", "sessions"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_failing_page_removes_no_message(
    target: ShopUnderTest, http: httpx.AsyncClient, path: str, outage: str
) -> None:
    stop, start = database_file_outage(target) if outage == "database" else (target.stop, target.start)
    failures = 0
    for number in count():
        expected = [await _submitted(http, *form) for form in PAGES[path]]
        target.interceptor.intercept(number, stop)
        response = await http.get(path)
        if not target.interceptor.was_reached:
            target.interceptor.disarm()
            assert messages(response) == expected
            break
        await start()
        await poll_until(lambda: _works(http))
        assert response.status_code in (200, 503)
        failures += response.status_code == 503
        shown = messages(response) if response.status_code == 200 else []
        assert shown + messages(await http.get(path)) == expected
    assert failures > 0


async def _submitted(http: httpx.AsyncClient, form: str, fields: dict[str, str], message: str) -> str:
    assert (await http.post(form, data=fields)).status_code == 303
    return message


async def _works(http: httpx.AsyncClient) -> Any:
    """Wait until database and sessions are available again."""
    responses = [await http.get("/"), await http.post("/api/preferences", json={})]
    return [response.status_code for response in responses] == [200, 200]
