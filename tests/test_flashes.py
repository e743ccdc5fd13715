"""A message is shown exactly once, and is lost only with a response that was sent (promise 3).

In the layer and on each page of the shop that shows messages.
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
from tests.gated import Gated
from tests.layer import Layer
from tests.outages import Place, database_file, place
from tests.shop import ALICE, HTTPS, browser, messages
from tests.stores import STORES
from tests.waiting import until

pytestmark = pytest.mark.anyio


# -- the layer ----------------------------------------------------------------------------------------------


class CountsSaves(Gated):
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


@pytest.fixture
def layer(store: CountsSaves, clock: ManualClock) -> Layer:
    return Layer(store, clock)


async def queued(layer: Layer, *texts: str) -> str:
    """The cookie of a session in which these messages wait, and one for another page."""
    session, visit = await layer.visit()
    for text in texts:
        session.flash("cart", text, "info")
    session.flash("other", "waits")
    await session.save()
    return str(visit.cookie())


@pytest.mark.promise(3)
async def test_all_messages_of_a_page_are_taken_in_one_commit(layer: Layer, store: CountsSaves) -> None:
    cookie = await queued(layer, "a", "b", "c")
    store.saves = 0
    session, _ = await layer.visit(cookie)
    assert await session.take_flashes("cart") == [("a", "info"), ("b", "info"), ("c", "info")]
    assert store.saves == 1
    assert await session.take_flashes("cart") == []
    assert store.saves == 1
    later, _ = await layer.visit(cookie)
    assert await later.take_flashes("cart") == []
    assert await later.take_flashes("other") == [("waits", None)]


@pytest.mark.promise(3)
async def test_concurrent_pages_of_two_processes_take_each_message_once(
    layer: Layer, store: CountsSaves, clock: ManualClock
) -> None:
    cookie = await queued(layer, "a", "b", "c")
    layers = [layer, Layer(store, clock)] * 4
    sessions = [(await each.visit(cookie))[0] for each in layers]
    taken = await asyncio.gather(*(session.take_flashes("cart") for session in sessions))
    assert sorted(text for each in taken for text, _ in each) == ["a", "b", "c"]


@pytest.mark.promise(3)
async def test_a_message_that_is_queued_meanwhile_is_taken_too(layer: Layer) -> None:
    cookie = await queued(layer, "a")
    page, _ = await layer.visit(cookie)
    form, _ = await layer.visit(cookie)
    form.flash("cart", "b")
    await form.save()
    assert await page.take_flashes("cart") == [("a", "info"), ("b", None)]
    assert await layer.read(cookie) == {"_flash": {"other": [["waits", None]]}}


@pytest.mark.promise(3)
async def test_messages_wait_when_they_cannot_be_taken(layer: Layer, store: CountsSaves) -> None:
    cookie = await queued(layer, "a", "b")
    page, _ = await layer.visit(cookie)
    store.failing = {"save"}
    with pytest.raises(StoreUnavailable):
        await page.take_flashes("cart")
    store.failing = set()
    page, _ = await layer.visit(cookie)
    rotating, visit = await layer.visit(cookie)
    rotating.regenerate()
    await rotating.save()
    with pytest.raises(SessionEnded):
        await page.take_flashes("cart")
    again, _ = await layer.visit(visit.cookie())
    assert await again.take_flashes("cart") == [("a", "info"), ("b", "info")]


# -- the pages ----------------------------------------------------------------------------------------------

PAGES: dict[str, list[tuple[str, dict[str, str], str]]] = {
    "/cart": [
        ("/cart/add", {"product_id": "1"}, "Added to your cart: Wireless Keyboard"),
        ("/cart/add", {"product_id": "2"}, "Added to your cart: USB-C Hub"),
    ],
    "/preferences": [("/preferences", {"theme": "dark"}, "Preferences saved")],
    "/profile": [("/profile/update", {"name": "Alice"}, "Profile updated successfully")],
    "/dashboard": [("/account/sessions/end-others", {}, "All other sessions are ended")],
}
"""The forms that queue messages for each page, and the messages."""


@pytest.fixture(params=["file", "redis-read-only"])
async def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """The shop with a closed catalogue, for which its pages ask the database."""
    async with place(request.param, request, monkeypatch, catalog="closed") as found:
        yield found


@pytest.fixture
async def http(there: Place) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(there.app, headers={"Accept": "text/html", "Origin": HTTPS}) as client:
        assert (await client.post("/register", data=ALICE)).status_code == 303
        yield client


@pytest.mark.parametrize("outage", ["database", "sessions"])
@pytest.mark.parametrize("path", PAGES)
async def test_a_page_that_fails_at_any_step_takes_no_message(
    there: Place, http: httpx.AsyncClient, path: str, outage: str
) -> None:
    stop, start = database_file(there) if outage == "database" else (there.stop, there.start)
    failures = 0
    for number in count():
        expected = [await _submitted(http, *form) for form in PAGES[path]]
        there.gate.at(number, stop)
        response = await http.get(path)
        if not there.gate.was_reached:
            there.gate.disarm()
            assert messages(response) == expected
            break
        await start()
        await until(lambda: _works(http))
        assert response.status_code in (200, 503)
        failures += response.status_code == 503
        shown = messages(response) if response.status_code == 200 else []
        assert shown + messages(await http.get(path)) == expected
    assert failures > 0


async def _submitted(http: httpx.AsyncClient, form: str, fields: dict[str, str], message: str) -> str:
    assert (await http.post(form, data=fields)).status_code == 303
    return message


async def _works(http: httpx.AsyncClient) -> Any:
    """Whether database and sessions are in reach again."""
    answers = [await http.get("/"), await http.post("/api/preferences", json={})]
    return [answer.status_code for answer in answers] == [200, 200]
