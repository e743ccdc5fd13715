"""A rotated ID reads as an empty session, on which no change can be based (promises 1, 2).

In the library and through the whole shop, in memory and on a Redis server.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI

from cartapp.catalogue import Product
from cartapp.session import Session, SessionEnded
from cartapp.session.operations import REMOVE
from tests.conftest import ManualClock
from tests.support.session_layer import SessionLayer
from tests.support.shop import ALICE, EMPTY, HTTPS, HUB, KEYBOARD, browser, running_app, set_cookies
from tests.support.stores import STORES, with_prefix

pytestmark = [pytest.mark.anyio, pytest.mark.promise(2)]

ENDED = "This session was ended or rotated by another request; this change was not saved"


class NotThere(Exception):
    """Raised by a handler's function that finds nothing to change."""


def changed_line(line: int | None) -> int:
    if line is None:
        raise NotThere
    return line + 1


@pytest.fixture(params=["memory", "redis"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- the layer ----------------------------------------------------------------------------------------------


@pytest.fixture
async def layer(
    request: pytest.FixtureRequest, backend: str, clock: ManualClock
) -> AsyncIterator[SessionLayer]:
    store = STORES[backend](request, clock)()
    yield SessionLayer(store, clock)
    await store.close()


async def rotated(layer: SessionLayer) -> tuple[str, str]:
    """Return the former and the present cookie of a session with a cart line."""
    cookie = await layer.begin(line=1)
    session, request_session = await layer.load(cookie)
    session.regenerate()
    await session.save()
    return cookie, str(request_session.cookie())


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
    "modify to remove": lambda session: session.modify("line", lambda _: REMOVE),
    "clear": lambda session: session.clear(),
    "regenerate": lambda session: session.regenerate(),
    "flash": lambda session: session.flash("message", "saved"),
}
changes = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@changes
async def test_a_tombstone_rejects_each_change(layer: SessionLayer, change: Callable[[Session], Any]) -> None:
    former, present = await rotated(layer)
    session, request_session = await layer.load(former)
    change(session)
    with pytest.raises(SessionEnded):
        await session.save()
    assert request_session.cookie() is None
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
async def test_errors_on_an_empty_tombstone_become_session_ended(
    layer: SessionLayer, change: Callable[[Session], Any]
) -> None:
    former, _ = await rotated(layer)
    session, _ = await layer.load(former)
    with pytest.raises(SessionEnded) as caught:
        change(session)
    assert str(caught.value) == f"{ENDED}."


@changes
async def test_a_log_in_succeeds_after_a_change(
    layer: SessionLayer, change: Callable[[Session], Any]
) -> None:
    former, _ = await rotated(layer)
    session, request_session = await layer.load(former)
    change(session)
    session.log_in("7")
    await session.save()
    logged_in, _ = await layer.load(request_session.cookie())
    assert logged_in.user_id == "7"


@changes
async def test_destroy_succeeds_after_a_change(layer: SessionLayer, change: Callable[[Session], Any]) -> None:
    former, present = await rotated(layer)
    session, _ = await layer.load(former)
    change(session)
    session.destroy()
    await session.save()
    assert await layer.read(present) == {}


async def test_a_missing_key_after_destroy_is_a_key_error(layer: SessionLayer) -> None:
    former, _ = await rotated(layer)
    session, request_session = await layer.load(former)
    session.destroy()
    session.delete("line")
    with pytest.raises(NotThere):
        session.modify("line", changed_line)
    with pytest.raises(KeyError) as caught:
        session.pop("line")
    assert not isinstance(caught.value, SessionEnded)
    await session.save()
    assert request_session.cookie() is None


async def test_reading_a_tombstone_shows_an_empty_session(layer: SessionLayer) -> None:
    former, _ = await rotated(layer)
    session, request_session = await layer.load(former)
    assert (session.get("line"), session.all(), len(session), session.flash("message")) == (None, {}, 0, None)
    assert await session.take_flash("message") is None
    with pytest.raises(KeyError):
        session["line"]
    await session.save()
    request_session.read_only = True  # as for HEAD
    session.delete("line")
    await session.save()
    assert request_session.cookie() is None


async def test_a_missing_key_of_a_live_session_records_nothing(layer: SessionLayer) -> None:
    session, request_session = await layer.load(await layer.begin(line=1))
    session.delete("other")
    assert session.pop("other", 5) == 5
    with pytest.raises(KeyError, match=r"^'other'$"):
        del session["other"]
    with pytest.raises(NotThere):
        session.modify("other", changed_line)
    assert session.is_untouched
    await session.save()
    assert request_session.cookie() is None


# -- the shop -----------------------------------------------------------------------------------------------


@pytest.fixture
def session_store(request: pytest.FixtureRequest, backend: str) -> dict[str, str]:
    """Settings for the session store."""
    if backend == "memory":
        return {}
    return {"session_url": with_prefix(request.getfixturevalue("redis_server").url)}


@pytest.fixture(params=["open", "closed"])
async def app(request: pytest.FixtureRequest, session_store: dict[str, str]) -> AsyncIterator[FastAPI]:
    async with running_app(catalog=request.param, **session_store) as app:
        yield app


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A logged-in browser that sends its cookie from before the log-in."""
    async with browser(app, headers={"Origin": HTTPS}) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        await client.post("/api/preferences", json={"theme": "dark"})
        former = dict(client.cookies)
        assert (await client.post("/register", json=ALICE)).status_code == 201
        client.headers["X-Present"] = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        set_cookies(client, former)
        yield client


async def kept(http: httpx.AsyncClient) -> tuple[Any, Any, int]:
    """Return the data of the session under its present ID, and the status of its user's dashboard."""
    former = dict(http.cookies)
    name, _, value = http.headers["X-Present"].partition("=")
    set_cookies(http, {name: value})
    cart = (await http.get("/api/cart")).json()["items"]
    preferences = (await http.get("/api/preferences")).json()
    dashboard = (await http.get("/dashboard")).status_code
    set_cookies(http, former)
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
async def test_a_missing_product_is_409_with_a_former_cookie(app: FastAPI, http: httpx.AsyncClient) -> None:
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


async def test_clearing_with_a_former_cookie_succeeds_and_keeps_a_log_in(
    http: httpx.AsyncClient,
) -> None:
    for path in ("/api/session/clear", "/logout"):
        response = await http.post(path, headers={"Accept": "application/json"})
        assert (response.status_code, response.headers.get("set-cookie")) == (200, None)
    assert await kept(http) == KEPT


@pytest.mark.parametrize("app", ["open"], indirect=True)
async def test_clearing_twice_ends_the_rotated_session(app: FastAPI) -> None:
    async with browser(app) as http:
        await http.post("/api/cart/add", json=KEYBOARD)
        former = dict(http.cookies)
        assert (await http.post("/api/session/clear")).json() == {"message": "Session cleared"}
        await http.post("/api/cart/add", json=HUB)
        present = dict(http.cookies)
        assert present != former
        set_cookies(http, former)  # the first response was late
        again = await http.post("/api/session/clear")
        assert (again.status_code, again.headers.get("set-cookie")) == (200, None)
        set_cookies(http, present)
        assert (await http.get("/api/cart")).json() == EMPTY
