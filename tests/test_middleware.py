"""The layer in somebody else's application: Starlette and FastAPI, over HTTP and WebSocket."""

import asyncio
import logging
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from cartapp.session import SessionError, SessionMiddleware, StoreUnavailable
from cartapp.session.carriers import CookieCarrier
from cartapp.session.fastapi import SessionDep, typed
from cartapp.session.keys import KeyRing, new_secret
from cartapp.session.record import Record, Version
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock
from tests.small_app import Counted, Wrap, client, session_of, wrapping

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(clock: ManualClock) -> Counted:
    return Counted(clock=clock)


@pytest.fixture
def wrap(store: Counted, clock: ManualClock) -> Wrap:
    return wrapping(store, clock)


# -- the drop-in ------------------------------------------------------------------------------------------


async def test_code_for_starlettes_middleware_runs_unchanged(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        assert (await http.get("/view")).json() == {"session": {}}
        answer = await http.post("/update", json={"some": "data", "list": []})
        assert answer.json() == {"session": {"some": "data", "list": []}}
        await http.post("/append")
        assert (await http.get("/view")).json() == {"session": {"some": "data", "list": [1]}}
        assert (await http.post("/clear")).json() == {"session": {}}
        assert (await http.get("/view")).json() == {"session": {}}


async def test_economy(wrap: Wrap, store: Counted, clock: ManualClock) -> None:
    async with client(wrap(load="explicit")) as http:
        await http.get("/ping")
        assert store.calls == []
    async with client(wrap()) as http:
        answer = await http.get("/view")
        assert store.calls == []
        assert "set-cookie" not in answer.headers
        await http.post("/update", json={"a": 1})
        assert store.calls == ["create"]
        store.calls.clear()
        answer = await http.get("/view")
        assert store.calls == ["load"]
        assert "set-cookie" not in answer.headers
        store.calls.clear()
        await http.post("/update", json={"a": 2})
        assert store.calls == ["load", "save"]
        store.calls.clear()
        clock.advance(360)
        await http.get("/view")
        assert store.calls == ["load", "touch"]


async def test_explicit_loading(wrap: Wrap) -> None:
    async with client(wrap(load="explicit")) as http:
        with pytest.raises(Exception, match="not loaded"):
            await http.get("/view")
        assert (await http.get("/ping")).text == "pong"


async def test_skipped_paths_load_nothing(wrap: Wrap, store: Counted) -> None:
    async with client(wrap(skip=["/static/"])) as http:
        await http.post("/update", json={"a": 1})
        store.calls.clear()
        await http.get("/static/ping")
        assert store.calls == []
        with pytest.raises(Exception, match="not loaded"):
            await http.get("/static/view")


# -- the answer -------------------------------------------------------------------------------------------


async def test_reading_varies_and_is_not_cached(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        answer = await http.get("/view")
        assert answer.headers["vary"] == "Cookie"
        assert answer.headers["cache-control"] == "no-store"
        answer = await http.get("/ping")
        assert "vary" not in answer.headers
        assert "cache-control" not in answer.headers


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("private, max-age=5", "private, max-age=5"),
        ("no-store", "no-store"),
        ("public, max-age=5", "no-store"),
    ],
)
async def test_a_handlers_own_caching_stays_when_it_is_private(wrap: Wrap, given: str, sent: str) -> None:
    async with client(wrap()) as http:
        assert (await http.get("/caching", params={"cache": given})).headers["cache-control"] == sent


async def test_a_failed_request_commits_only_the_end(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        assert (await http.post("/fail")).status_code == 500
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
        answer = await http.post("/fail?destroy=1")
        assert answer.status_code == 500
        assert "Max-Age=0" in answer.headers["set-cookie"]
        assert (await http.get("/view")).json() == {"session": {}}


async def test_too_large_is_413_with_the_limit(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        answer = await http.post("/big")
        assert answer.status_code == 413
        assert "65536" in answer.json()["error"]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_an_outage_is_503_and_keeps_the_cookie(wrap: Wrap, store: Counted) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        store.failing = True
        for method, path in (("GET", "/view"), ("POST", "/update"), ("POST", "/destroy")):
            answer = await http.request(method, path, json={})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "set-cookie" not in answer.headers
        answer = await http.get("/ping")  # needs no session: the outage is raised at the first touch
        assert (answer.status_code, answer.text) == (200, "pong")
        assert "set-cookie" not in answer.headers
        store.failing = False
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    store.failing = True
    async with client(wrap()) as visitor:
        assert (await visitor.get("/view")).status_code == 200
        assert (await visitor.post("/update", json={"a": 1})).status_code == 503


async def test_no_answer_says_saved_when_it_was_not(wrap: Wrap, store: Counted) -> None:
    async with client(wrap(load="auto")) as http:
        await http.post("/update", json={"a": 1})
        original = store.save

        async def refuse(record: Record, *, expected: Version) -> Version | None:
            raise StoreUnavailable("read-only")

        store.save = refuse  # type: ignore[method-assign]
        answer = await http.post("/update", json={"a": 2})
        assert answer.status_code == 503
        assert "session" not in answer.json()
        store.save = original  # type: ignore[method-assign]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_a_keep_alive_that_fails_does_not_spoil_the_reading(
    wrap: Wrap, store: Counted, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        clock.advance(400)

        async def refuse(key: str, *, expected: Version, last_used: int, expires: int) -> bool:
            raise StoreUnavailable("read-only")

        store.touch = refuse  # type: ignore[method-assign]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    assert "Keep-alive" in caplog.text


async def test_the_answer_to_a_failed_commit_can_be_replaced(wrap: Wrap, store: Counted) -> None:
    def apology(scope: object, error: Exception) -> Response:
        return PlainTextResponse(type(error).__name__, 503)

    store.failing = True
    async with client(wrap(error_response=apology)) as http:
        assert (await http.post("/update", json={"a": 1})).text == "StoreUnavailable"


class Full(Exception):
    """The application's own error, raised by a function given to `modify`."""


def application_with_full_lists() -> tuple[FastAPI, asyncio.Event, asyncio.Event]:
    """An application whose slow handler changes a list, and events: it has done so, and it may go on."""
    app, changed, may_go_on = FastAPI(), asyncio.Event(), asyncio.Event()

    def add(number: int) -> int:
        if number:
            raise Full
        return number + 1

    @app.post("/add")
    async def add_one(request: Request, wait: bool = False) -> dict[str, str]:
        session_of(request).modify("n", add, 0)
        if wait:
            changed.set()
            await may_go_on.wait()
        return {"status": "added"}

    @app.get("/empty")
    async def empty(request: Request) -> None:
        request.session["n"] = 0

    return app, changed, may_go_on


async def fill_during_a_request(app: Any, changed: asyncio.Event, go_on: asyncio.Event) -> Any:
    app.add_middleware(SessionMiddleware, store=MemoryStore())
    async with client(app) as http:
        await http.get("/empty")
        slow = asyncio.create_task(http.post("/add?wait=1"))
        await changed.wait()
        assert (await http.post("/add")).status_code == 200
        go_on.set()
        return await slow


async def test_an_exception_handler_answers_what_modify_raises_in_the_last_commit() -> None:
    app, *events = application_with_full_lists()
    app.add_exception_handler(Full, lambda request, error: PlainTextResponse("full", 409))
    answer = await fill_during_a_request(app, *events)
    assert (answer.status_code, answer.text) == (409, "full")
    assert answer.headers["cache-control"] == "no-store"


async def test_an_exception_handler_of_a_mounted_application_answers_as_well() -> None:
    mounted, *events = application_with_full_lists()
    app = Starlette(routes=[Mount("/", mounted)])
    app.add_exception_handler(Full, lambda request, error: PlainTextResponse("outer", 409))
    answer = await fill_during_a_request(app, *events)
    assert (answer.status_code, answer.text) == (409, "outer")


async def test_without_an_exception_handler_it_is_a_500() -> None:
    app, *events = application_with_full_lists()
    app.add_exception_handler(Exception, lambda request, error: PlainTextResponse("sorry", 500))
    with pytest.raises(Full):  # as the server logs it, once the 500 was sent
        await fill_during_a_request(app, *events)


async def test_streams_commit_before_the_first_byte(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        answer = await http.get("/stream")
        assert answer.text == "firstlast"
        assert (await http.get("/view")).json() == {"session": {"early": 1}}
        await http.get("/stream?save=1")
        assert (await http.get("/view")).json() == {"session": {"early": 1, "late": 1}}


async def test_what_needs_a_cookie_is_refused_once_the_answer_has_begun(wrap: Wrap, store: Counted) -> None:
    async with client(wrap()) as http:
        with pytest.raises(SessionError, match="begun answer"):
            await http.get("/stream?late=1&save=1")
        assert store.calls == []  # no session begins that nobody has the cookie of
        await http.get("/stream")
        with pytest.raises(SessionError, match="begun answer"):
            await http.get("/stream?renew=1&save=1")
        assert (await http.get("/view")).json() == {"session": {"early": 1}}  # its id is still good


async def test_the_cookie_carrier_saves_nothing_once_the_answer_has_begun(wrap: Wrap) -> None:
    app = wrap(carrier=CookieCarrier(KeyRing(new_secret()), "cart_session"))
    async with client(app) as http:
        await http.post("/update", json={"a": 1})
        with pytest.raises(SessionError, match="begun answer"):
            await http.get("/stream?late=1&save=1")
    with TestClient(app, base_url="https://testserver") as browser:
        browser.post("/update", json={"a": 1})
        with browser.websocket_connect("wss://testserver/socket") as ws:
            assert "a WebSocket" in ws.receive_json()["error"]


async def test_head_changes_nothing(wrap: Wrap, store: Counted, clock: ManualClock) -> None:
    async with client(wrap()) as http:
        answer = await http.head("/stream")
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        await http.post("/update", json={"a": 1})
        clock.advance(400)
        store.calls.clear()
        await http.head("/stream")
        assert store.calls == ["load"]
        assert (await http.get("/view")).json() == {"session": {"a": 1}}


async def test_the_id_appears_in_set_cookie_only(
    wrap: Wrap, store: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with client(wrap()) as http:
        answer = await http.post("/update", json={"a": 1})
        cookie = answer.cookies["__Host-cart_session"]
        answers = [answer, await http.get("/view"), await http.post("/big"), await http.post("/destroy")]
    for each in answers:
        others = [value for name, value in each.headers.items() if name != "set-cookie"]
        assert cookie not in each.text + "".join(others)
    ours = [line.getMessage() for line in caplog.records if line.name.startswith("cartapp")]
    assert ours
    assert not any(cookie in line for line in ours)


# -- WebSocket --------------------------------------------------------------------------------------------


def test_a_websocket_saves_only_by_save(wrap: Wrap) -> None:
    with TestClient(wrap(), base_url="https://testserver") as http:
        with http.websocket_connect("wss://testserver/socket") as ws:
            assert "a WebSocket" in ws.receive_json()["error"]
        http.post("/update", json={"a": 1})
        with http.websocket_connect("wss://testserver/socket") as ws:
            assert ws.receive_json() == {"session": {"a": 1, "socket": 1}}
        assert http.get("/view").json() == {"session": {"a": 1, "socket": 1}}


def test_a_websocket_is_refused_while_the_store_is_down(wrap: Wrap, store: Counted) -> None:
    with TestClient(wrap(), base_url="https://testserver") as http:
        http.post("/update", json={"a": 1})
        store.failing = True
        with (
            pytest.raises(WebSocketDisconnect) as refusal,
            http.websocket_connect("wss://testserver/socket"),
        ):
            pass
        assert refusal.value.code == 1013


# -- FastAPI ----------------------------------------------------------------------------------------------


class Shop:
    username: str = "example"
    visits: int = 0
    cart: list[int] = []  # noqa: RUF012 - the point: every session gets its own


async def test_fastapi_dependencies_and_the_typed_view(store: Counted, clock: ManualClock) -> None:
    app = FastAPI()
    app.add_middleware(SessionMiddleware, store=store, clock=clock, load="explicit", data=Shop)

    @app.get("/visit")
    async def visit(shop: Annotated[Shop, typed(Shop)], session: SessionDep) -> dict[str, Any]:
        shop.visits += 1
        shop.cart.append(shop.visits)
        assert isinstance(session.data, Shop)
        return {"session": session, "name": session.data.username}

    @app.get("/wrong")
    async def wrong(session: SessionDep) -> None:
        for name, value in (("visits", "many"), ("nothing", 1)):
            with pytest.raises((TypeError, AttributeError), match=name):
                setattr(session.data, name, value)
        session["visits"] = "many"
        with pytest.raises(TypeError, match="visits"):
            _ = session.data.visits

    async with client(app) as http:
        await http.get("/visit")
        answer = await http.get("/visit")
        assert answer.json() == {"session": {"cart": [1, 2], "visits": 2}, "name": "example"}
        assert (await http.get("/wrong")).status_code == 200
    assert Shop.cart == []
