"""An ID that was rotated reads as an empty session, from which nothing follows for a change (promises 1, 2).

In the layer and through the whole shop, in memory and on a Redis server.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from cartapp.catalogue import Product
from cartapp.session import Session, SessionEnded
from cartapp.session.operations import GONE
from tests.conftest import ManualClock
from tests.layer import Layer
from tests.shop import ALICE, EMPTY, HTTPS, HUB, KEYBOARD, browser, started, take
from tests.stores import STORES, with_prefix

pytestmark = [pytest.mark.anyio, pytest.mark.promise(2)]

ENDED = "This session was ended or rotated by another request; this change was not saved"


class NotThere(Exception):
    """What a handler's function raises when it finds nothing to change."""


def changed_line(line: int | None) -> int:
    if line is None:
        raise NotThere
    return line + 1


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the layer ----------------------------------------------------------------------------------------------


@pytest.fixture
async def layer(request: pytest.FixtureRequest, backend: str, clock: ManualClock) -> AsyncIterator[Layer]:
    store = STORES[backend](request, clock)()
    yield Layer(store, clock)
    await store.close()


async def rotated(layer: Layer) -> tuple[str, str]:
    """The former and the present cookie of a session with a line."""
    cookie = await layer.begin(line=1)
    session, visit = await layer.visit(cookie)
    session.regenerate()
    await session.save()
    return cookie, str(visit.cookie())


def delete_item(session: Session) -> None:
    with suppress(KeyError):
        del session["line"]


def pop(session: Session) -> None:
    with suppress(KeyError):
        session.pop("line")


CHANGES: dict[str, Callable[[Session], Any]] = {
    "delete": lambda session: session.delete("line"),
    "pop": lambda session: session.pop("line", None),
    "pop of a key that has to be there": pop,
    "del": delete_item,
    "set": lambda session: session.set("line", 1),
    "setdefault": lambda session: session.setdefault("line", 1),
    "update": lambda session: session.update(line=1),
    "modify": lambda session: session.modify("line", lambda line: line + 1, 0),
    "modify to remove": lambda session: session.modify("line", lambda _: GONE),
    "clear": lambda session: session.clear(),
    "regenerate": lambda session: session.regenerate(),
    "flash": lambda session: session.flash("message", "saved"),
}
changes = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@changes
async def test_a_tombstone_refuses_each_change(layer: Layer, change: Callable[[Session], Any]) -> None:
    former, present = await rotated(layer)
    session, visit = await layer.visit(former)
    change(session)
    with pytest.raises(SessionEnded):
        await session.save()
    assert visit.cookie() is None
    assert session == {}
    assert await layer.read(present) == {"line": 1}


@pytest.mark.promise(1)
@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.modify("line", changed_line),
        lambda session: session.pop("line"),
        lambda session: session.__delitem__("line"),
        lambda session: session.popitem(),
    ],
)
async def test_no_change_is_impossible_because_a_tombstone_is_empty(
    layer: Layer, change: Callable[[Session], Any]
) -> None:
    former, _ = await rotated(layer)
    session, _ = await layer.visit(former)
    with pytest.raises(SessionEnded) as caught:
        change(session)
    assert str(caught.value) == f"{ENDED}."


@changes
async def test_a_log_in_succeeds_after_a_change(layer: Layer, change: Callable[[Session], Any]) -> None:
    former, _ = await rotated(layer)
    session, visit = await layer.visit(former)
    change(session)
    session.log_in("7")
    await session.save()
    logged_in, _ = await layer.visit(visit.cookie())
    assert logged_in.user_id == "7"


@changes
async def test_destroy_succeeds_after_a_change(layer: Layer, change: Callable[[Session], Any]) -> None:
    former, present = await rotated(layer)
    session, _ = await layer.visit(former)
    change(session)
    session.destroy()
    await session.save()
    assert await layer.read(present) == {}


async def test_after_destroy_nothing_is_missing_because_of_a_rotation(layer: Layer) -> None:
    former, _ = await rotated(layer)
    session, visit = await layer.visit(former)
    session.destroy()
    session.delete("line")
    with pytest.raises(NotThere):
        session.modify("line", changed_line)
    with pytest.raises(KeyError) as caught:
        session.pop("line")
    assert not isinstance(caught.value, SessionEnded)
    await session.save()
    assert visit.cookie() is None


async def test_reading_a_tombstone_shows_an_empty_session(layer: Layer) -> None:
    former, _ = await rotated(layer)
    session, visit = await layer.visit(former)
    assert (session.get("line"), session.all(), len(session), session.flash("message")) == (None, {}, 0, None)
    assert await session.take_flash("message") is None
    with pytest.raises(KeyError):
        session["line"]
    await session.save()
    visit.read_only = True  # as for HEAD
    session.delete("line")
    await session.save()
    assert visit.cookie() is None


async def test_a_missing_key_of_a_live_session_is_no_change(layer: Layer) -> None:
    session, visit = await layer.visit(await layer.begin(line=1))
    session.delete("other")
    assert session.pop("other", 5) == 5
    with pytest.raises(KeyError, match=r"^'other'$"):
        del session["other"]
    with pytest.raises(NotThere):
        session.modify("other", changed_line)
    assert session.is_untouched
    await session.save()
    assert visit.cookie() is None


# -- the shop -----------------------------------------------------------------------------------------------


@pytest.fixture
def session_store(request: pytest.FixtureRequest, backend: str) -> dict[str, str]:
    """The settings of the session store."""
    if backend == "memory":
        return {}
    return {"session_url": with_prefix(request.getfixturevalue("redis_server").url)}


@pytest.fixture(params=["open", "closed"])
async def app(request: pytest.FixtureRequest, session_store: dict[str, str]) -> AsyncIterator[FastAPI]:
    async with started(catalog=request.param, **session_store) as app:
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is logged in and comes with the cookie of before its log-in."""
    async with browser(app, headers={"Origin": HTTPS}) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        await client.post("/api/preferences", json={"theme": "dark"})
        former = dict(client.cookies)
        assert (await client.post("/register", json=ALICE)).status_code == 201
        client.headers["X-Present"] = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        take(client, former)
        yield client


async def kept(http: httpx.AsyncClient) -> tuple[Any, Any, int]:
    """What the session under its present ID holds, and the status of its user's own page."""
    former = dict(http.cookies)
    name, _, value = http.headers["X-Present"].partition("=")
    take(http, {name: value})
    cart = (await http.get("/api/cart")).json()["items"]
    preferences = (await http.get("/api/preferences")).json()
    dashboard = (await http.get("/dashboard")).status_code
    take(http, former)
    return [(line["product_id"], line["quantity"]) for line in cart], preferences["theme"], dashboard


KEPT = ([(1, 1)], "dark", 200)

WRITES: list[tuple[str, str, dict[str, Any]]] = [
    ("DELETE", "/api/cart", {}),
    ("DELETE", "/api/cart/1", {}),
    ("DELETE", "/api/cart/9", {}),
    ("PUT", "/api/cart/1", {"json": {"quantity": 3}}),
    ("PUT", "/api/cart/1", {"json": {"quantity": 0}}),
    ("POST", "/api/cart/add", {"json": HUB}),
    ("POST", "/api/preferences", {"json": {}}),
    ("DELETE", "/api/preferences/theme", {}),
    ("GET", "/visit-counter", {}),
    ("POST", "/profile/update", {"data": {"name": "Alice"}}),
    ("POST", "/preferences", {"data": {"theme": "light"}}),
    ("POST", "/cart/add", {"data": {"product_id": "2"}}),
    ("POST", "/cart/1", {"data": {"quantity": "2"}}),
    ("POST", "/cart/1", {"data": {"quantity": "0"}}),
    ("POST", "/cart/clear", {"data": {}}),
]


@pytest.mark.promise(1)
async def test_each_write_of_the_shop_with_a_former_cookie_is_409(http: httpx.AsyncClient) -> None:
    for method, path, sent in WRITES:
        response = await http.request(method, path, headers={"Accept": "application/json"}, **sent)
        assert (path, response.status_code, response.json()) == (path, 409, {"error": ENDED})
        assert "set-cookie" not in response.headers
        if "data" in sent:
            page = await http.request(method, path, headers={"Accept": "text/html"}, **sent)
            assert (path, page.status_code, ENDED in page.text) == (path, 409, True)
        assert await kept(http) == KEPT


@pytest.mark.promise(1)
@pytest.mark.parametrize("app", ["closed"], indirect=True)
async def test_a_product_that_is_gone_is_no_404_with_a_former_cookie(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    await app.state.catalogue.replace([Product(2, "USB-C Hub", 4999, "")])
    for method in ("PUT", "DELETE"):
        response = await http.request(method, "/api/cart/1", json={"quantity": 3})
        assert (response.status_code, response.json()) == (409, {"error": ENDED})


async def test_the_shop_shows_an_empty_session_to_a_former_cookie(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/cart")).json() == EMPTY
    assert (await http.get("/api/preferences")).json()["theme"] == "light"
    for path in ("/", "/cart", "/preferences", "/profile", "/login"):
        response = await http.get(path)
        assert (response.status_code, response.headers.get("set-cookie")) == (200, None)
    assert (await http.get("/dashboard")).status_code == 303
    assert (await http.get("/visit-counter", headers={"Sec-Purpose": "prefetch"})).status_code == 200
    assert (await http.head("/visit-counter")).status_code == 200
    assert await kept(http) == KEPT


# -- clearing -----------------------------------------------------------------------------------------------


async def test_clearing_with_a_former_cookie_succeeds_as_log_out_does_and_undoes_no_log_in(
    http: httpx.AsyncClient,
) -> None:
    for path in ("/api/session/clear", "/logout"):
        response = await http.post(path, headers={"Accept": "application/json"})
        assert (response.status_code, response.headers.get("set-cookie")) == (200, None)
    assert await kept(http) == KEPT


@pytest.mark.parametrize("app", ["open"], indirect=True)
async def test_clearing_twice_ends_what_the_session_became(app: FastAPI) -> None:
    async with browser(app) as http:
        await http.post("/api/cart/add", json=KEYBOARD)
        former = dict(http.cookies)
        assert (await http.post("/api/session/clear")).json() == {"message": "Session cleared"}
        await http.post("/api/cart/add", json=HUB)
        present = dict(http.cookies)
        assert present != former
        take(http, former)  # the response to the first one was late
        again = await http.post("/api/session/clear")
        assert (again.status_code, again.headers.get("set-cookie")) == (200, None)
        take(http, present)
        assert (await http.get("/api/cart")).json() == EMPTY
