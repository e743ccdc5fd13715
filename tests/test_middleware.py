"""The layer in somebody else's application: Starlette and FastAPI, over HTTP and WebSocket."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, cast

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from cartapp.session import CookieOptions, Session, SessionError, SessionMiddleware, StoreUnavailable
from cartapp.session.carriers import CookieCarrier
from cartapp.session.fastapi import SessionDep, typed
from cartapp.session.keys import KeyRing, new_secret
from cartapp.session.record import Record, Version, key_of, new_id
from cartapp.session.stores.memory import MemoryStore
from tests.conftest import ManualClock

pytestmark = pytest.mark.anyio

Wrap = Callable[..., ASGIApp]


class Counted(MemoryStore):
    """Counts operations, and fails when told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.calls: list[str] = []
        self.failing = False

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failing:
            raise StoreUnavailable("The store is down for this test.")

    async def create(self, record: Record) -> Version | None:
        self._called("create")
        return await super().create(record)

    async def load(self, key: str) -> Record | None:
        self._called("load")
        return await super().load(key)

    async def save(self, record: Record, *, expected: Version) -> Version | None:
        self._called("save")
        return await super().save(record, expected=expected)

    async def touch(self, key: str, *, expected: Version, last_used: int, expires: int) -> bool:
        self._called("touch")
        return await super().touch(key, expected=expected, last_used=last_used, expires=expires)

    async def delete(self, key: str, *, expected: Record | None = None) -> bool:
        self._called("delete")
        return await super().delete(key, expected=expected)


# Handlers as anybody writes them for Starlette's own SessionMiddleware.


async def view(request: Request) -> Response:
    return JSONResponse({"session": request.session})


async def update(request: Request) -> Response:
    request.session.update(await request.json())
    return JSONResponse({"session": request.session})


async def append(request: Request) -> Response:
    request.session["list"].append(1)
    return JSONResponse({"session": request.session})


async def clear(request: Request) -> Response:
    request.session.clear()
    return JSONResponse({"session": request.session})


async def ping(_request: Request) -> Response:
    return PlainTextResponse("pong")


# Handlers that know ours.


def session_of(connection: HTTPConnection) -> Session:
    """Typed access: Starlette says that `session` is a plain dict."""
    return cast(Session, connection.session)


async def destroy(request: Request) -> Response:
    session_of(request).destroy()
    return PlainTextResponse("gone")


async def renew(request: Request) -> Response:
    session_of(request).regenerate()
    return PlainTextResponse("renewed")


async def fail(request: Request) -> Response:
    request.session["kept"] = False
    if "destroy" in request.query_params:
        session_of(request).destroy()
    return PlainTextResponse("failed", 500)


async def big(request: Request) -> Response:
    request.session["big"] = "x" * 70_000
    return PlainTextResponse("stored")


async def caching(request: Request) -> Response:
    headers = {"Cache-Control": request.query_params["cache"]}
    return PlainTextResponse(str("a" in request.session), headers=headers)


async def stream(request: Request) -> Response:
    async def body() -> AsyncIterator[str]:
        yield "first"
        request.session["late"] = 1
        yield "last"
        if "renew" in request.query_params:
            session_of(request).regenerate()
        if "save" in request.query_params:
            await session_of(request).save()

    if "late" not in request.query_params:
        request.session["early"] = 1
    return StreamingResponse(body())


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    if websocket.query_params.get("load"):
        await session_of(websocket).load()
    websocket.session["socket"] = 1
    try:
        await session_of(websocket).save()
    except SessionError as error:
        await websocket.send_json({"error": str(error)})
    else:
        await websocket.send_json({"session": websocket.session})
    await websocket.close()


ROUTES = [
    Route("/view", view),
    Route("/update", update, methods=["POST"]),
    Route("/append", append, methods=["POST"]),
    Route("/clear", clear, methods=["POST"]),
    Route("/ping", ping),
    Route("/static/ping", ping),
    Route("/static/view", view),
    Route("/destroy", destroy, methods=["POST"]),
    Route("/renew", renew, methods=["POST"]),
    Route("/fail", fail, methods=["POST"]),
    Route("/big", big, methods=["POST"]),
    Route("/caching", caching),
    Route("/stream", stream),
    WebSocketRoute("/socket", socket),
]


@pytest.fixture
def store(clock: ManualClock) -> Counted:
    return Counted(clock=clock)


@pytest.fixture
def wrap(store: Counted, clock: ManualClock) -> Wrap:
    def build(**options: Any) -> ASGIApp:
        app = Starlette(routes=ROUTES)
        app.add_middleware(SessionMiddleware, store=store, clock=clock, **options)
        return app

    return build


def client(app: ASGIApp, base_url: str = "https://testserver") -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url)


def with_cookie(value: str) -> dict[str, str]:
    return {"Cookie": f"__Host-cart_session={value}"}


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


# -- the cookie -------------------------------------------------------------------------------------------


async def test_on_https_it_is_secure_and_host_only(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
    name, _, rest = header.partition("=")
    assert name == "__Host-cart_session"
    assert len(rest.partition(";")[0]) == 43
    assert rest.partition("; ")[2] == "Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure"


async def test_on_plain_http_it_is_neither(wrap: Wrap) -> None:
    async with client(wrap(), "http://127.0.0.1") as http:
        header = (await http.post("/update", json={"a": 1})).headers["set-cookie"]
    assert header.startswith("cart_session=")
    assert header.endswith("; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax")


async def test_each_scheme_reads_its_own_name_only(wrap: Wrap) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    for base, name, known in [
        ("https://testserver", "__Host-cart_session", True),
        ("https://testserver", "cart_session", False),
        ("http://testserver", "cart_session", True),
        ("http://testserver", "__Host-cart_session", False),
    ]:
        async with client(app, base) as http:
            answer = await http.get("/view", headers={"Cookie": f"{name}={cookie}"})
            assert bool(answer.json()["session"]) is known


@pytest.mark.parametrize(
    ("options", "https", "expected"),
    [
        (CookieOptions(domain="shop.example"), True, "s=v; Path=/; Max-Age=9; Domain=shop.example"),
        (CookieOptions(path="/shop"), True, "s=v; Path=/shop; Max-Age=9"),
        (CookieOptions(secure=True), False, "s=v; Path=/; Max-Age=9"),
        (CookieOptions(secure=False), True, "s=v; Path=/; Max-Age=9"),
    ],
)
def test_other_cookies_have_no_host_prefix(options: CookieOptions, https: bool, expected: str) -> None:
    header = options.header("v", 9, https=https).replace("cart_session", "s")
    assert header.startswith(expected)
    assert header.endswith("Secure") is (options.secure is True or (options.secure == "auto" and https))


async def test_what_is_no_id_never_reaches_the_store(wrap: Wrap, store: Counted) -> None:
    good = new_id()
    odd = [
        "",
        "../../x",
        "x" * 251,
        "x" * 10_000,
        good + "=",
        '"' + good + '"',
        good[:-1],
        good[:-1] + "B",
        good[:-1] + "\u00e9",
        " " + good[1:],
        good[:-1] + "%",
        "null",
    ]
    async with client(wrap()) as http:
        for value in odd:
            headers = [(b"cookie", b"__Host-cart_session=" + value.encode("latin-1"))]
            answer = await http.get("/view", headers=headers)
            assert (answer.status_code, answer.json()) == (200, {"session": {}})
            assert "set-cookie" not in answer.headers
        for raw in (b"\x00", b"a\r\nb", b"\xff" * 43):
            headers = [(b"cookie", b"__Host-cart_session=" + raw)]
            assert (await http.get("/view", headers=headers)).status_code == 200
    assert store.calls == []


async def test_two_cookies_of_our_name_are_none(
    wrap: Wrap, store: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    store.calls.clear()
    pair = f"__Host-cart_session={cookie}"
    async with client(app) as http:
        for headers in (
            [("Cookie", f"{pair}; {pair}")],
            [("Cookie", pair), ("Cookie", f"__Host-cart_session={new_id()}")],
        ):
            answer = await http.get("/view", headers=headers)
            assert answer.json() == {"session": {}}
    assert store.calls == []
    assert len([line for line in caplog.messages if "2 cookies" in line]) == 2


async def test_other_cookies_do_not_disturb(wrap: Wrap) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    async with client(app) as http:
        mixed = f'x="a; b"; not__Host-cart_session=1;\t__Host-cart_session={cookie} ; __Host-cart_session2=y'
        assert (await http.get("/view", headers={"Cookie": mixed})).json() == {"session": {"a": 1}}
        lookalike = f"\u00a0__Host-cart_session={cookie}".encode("latin-1")
        assert (await http.get("/view", headers=[(b"cookie", lookalike)])).json() == {"session": {}}


async def test_a_store_key_is_no_cookie(wrap: Wrap) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
    async with client(app) as http:
        answer = await http.get("/view", headers=with_cookie(key_of(cookie)))
        assert answer.json() == {"session": {}}


async def test_destroy_clears_with_the_same_attributes(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        await http.post("/update", json={"a": 1})
        header = (await http.post("/destroy")).headers["set-cookie"]
        assert header == "__Host-cart_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
        assert (await http.get("/view")).json() == {"session": {}}


async def test_an_unknown_id_neither_sets_nor_clears(wrap: Wrap) -> None:
    async with client(wrap()) as http:
        for method, path in (("GET", "/view"), ("POST", "/destroy"), ("POST", "/clear"), ("POST", "/renew")):
            answer = await http.request(method, path, headers=with_cookie(new_id()))
            assert answer.status_code == 200
            assert "set-cookie" not in answer.headers


async def test_a_retired_id_gets_409_and_no_cookie(wrap: Wrap) -> None:
    app = wrap()
    async with client(app) as http:
        cookie = (await http.post("/update", json={"a": 1})).cookies["__Host-cart_session"]
        assert "set-cookie" in (await http.post("/renew")).headers
        assert (await http.get("/view")).json() == {"session": {"a": 1}}
    async with client(app) as late:
        answer = await late.post("/update", json={"b": 1}, headers=with_cookie(cookie))
        assert answer.status_code == 409
        assert answer.json() == {
            "error": "This session was ended or renewed by another request; nothing was changed."
        }
        assert "set-cookie" not in answer.headers


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
        for method, path in (("GET", "/view"), ("POST", "/update"), ("GET", "/ping"), ("POST", "/destroy")):
            answer = await http.request(method, path, json={})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
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


async def test_eager_gives_the_cookie_at_the_first_visit(wrap: Wrap, store: Counted) -> None:
    async with client(wrap(eager=True, load="explicit")) as http:
        answer = await http.get("/ping")
        assert "set-cookie" in answer.headers
        assert store.calls == ["create"]
        answer = await http.get("/ping")
        assert "set-cookie" not in answer.headers
        assert store.calls == ["create"]


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
