"""C12b: prefetching a page changes nothing and shows no untrue content."""

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cartapp.accounts import parse_token
from cartapp.session import SessionMiddleware, session_of
from cartapp.session.middleware import is_prefetch
from tests.conftest import ManualClock
from tests.support.shop import ALICE, browser, messages, running_app, shop
from tests.support.starlette_app import CountingStore, client

pytestmark = pytest.mark.anyio

PREFETCH = {"Sec-Purpose": "prefetch"}
PROFILE = {"name": "Alice", "email": "alice@example.com"}
SAVED = "Profile updated successfully"

PURPOSES = [
    ("Sec-Purpose", "prefetch"),
    ("Sec-Purpose", "prefetch;prerender"),
    ("Sec-Purpose", "prefetch; prerender"),
    ("Sec-Purpose", "prefetch;anonymous-client-ip"),
    ("Sec-Purpose", "prerender"),
    ("Purpose", "prefetch"),
    ("Purpose", "Prefetch"),
    ("X-Purpose", "preview"),
    ("X-Moz", "prefetch"),
]


def make_headers(name: str, value: str) -> list[tuple[bytes, bytes]]:
    return [(b"accept", b"prefetch"), (name.lower().encode(), value.encode())]


@pytest.mark.parametrize(("name", "value"), PURPOSES)
def test_c12b_prefetches_are_recognized(name: str, value: str) -> None:
    assert is_prefetch(make_headers(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Sec-Purpose", ""),
        ("Sec-Purpose", "navigation"),
        ("Sec-Purpose", "no-prefetch"),
        ("Sec-Purpose", "prefetching"),
        ("Accept", "prefetch"),
    ],
)
def test_c12b_other_requests_are_not_prefetches(name: str, value: str) -> None:
    assert not is_prefetch(make_headers(name, value))


# -- the library --------------------------------------------------------------------------------------------


async def take(request: Request) -> Response:
    """Take a flash in both ways and change the session."""
    session = await session_of(request).load()
    found = [session.flash("news"), await session.take_flash("news")]
    session["visits"] = session.get("visits", 0) + 1
    return JSONResponse({"found": found, "prefetch": session.is_prefetch})


async def queue(request: Request) -> Response:
    session = await session_of(request).load()
    for text in ("one", "two", "three"):
        session.flash("news", text)
    return JSONResponse({})


async def show(request: Request) -> Response:
    return JSONResponse({**await session_of(request).load()})


@pytest.fixture
def store(clock: ManualClock) -> CountingStore:
    return CountingStore(clock=clock)


@pytest.fixture
def http(store: CountingStore, clock: ManualClock) -> httpx.AsyncClient:
    app = Starlette(
        routes=[
            Route("/take", take, methods=["GET", "POST"]),
            Route("/queue", queue, methods=["POST"]),
            Route("/show", show),
        ]
    )
    app.add_middleware(SessionMiddleware, store=store, clock=clock, load="explicit")
    return client(app)


async def test_c12b_prefetch_commits_nothing_and_keeps_flashes(
    http: httpx.AsyncClient, store: CountingStore, clock: ManualClock
) -> None:
    async with http:
        await http.post("/queue")
        before = (await http.get("/show")).json()
        clock.advance(400)  # keep-alive is due
        store.calls.clear()
        response = await http.get("/take", headers=PREFETCH)
        assert response.json() == {"found": [None, None], "prefetch": True}
        assert store.calls == ["load"]
        assert "set-cookie" not in response.headers
        assert (await http.get("/show")).json() == before
        response = await http.get("/take")
        assert response.json() == {"found": ["one", "two"], "prefetch": False}
        assert (await http.get("/show")).json()["visits"] == 1


async def test_c12b_prefetch_creates_no_session(http: httpx.AsyncClient, store: CountingStore) -> None:
    async with http:
        response = await http.get("/take", headers=PREFETCH)
    assert "set-cookie" not in response.headers
    assert store.calls == []


async def test_c12b_only_get_is_a_prefetch(http: httpx.AsyncClient) -> None:
    async with http:
        await http.post("/queue", headers=PREFETCH)
        response = await http.post("/take", headers=PREFETCH)
        assert response.json() == {"found": ["one", "two"], "prefetch": False}


# -- the shop -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), PURPOSES)
async def test_c12b_flash_is_kept_for_the_next_visible_page(name: str, value: str) -> None:
    async with shop() as http:
        await http.post("/profile/update", data=PROFILE)
        response = await http.get("/profile", headers={name: value})
        assert response.status_code == 200
        assert "alice@example.com" in response.text
        assert messages(response) == []
        assert messages(await http.get("/profile")) == [SAVED]
        assert messages(await http.get("/profile")) == []


async def test_c12b_prefetch_is_not_counted_as_visit() -> None:
    async with shop() as http:
        response = await http.get("/visit-counter", headers=PREFETCH)
        assert response.json() == {"visit_count": 0, "message": "You have visited this page 0 times"}
        assert "set-cookie" not in response.headers
        for count in (1, 2):
            assert (await http.get("/visit-counter")).json()["visit_count"] == count
            response = await http.get("/visit-counter", headers=PREFETCH)
            times = "1 time" if count == 1 else f"{count} times"
            assert response.json() == {"visit_count": count, "message": f"You have visited this page {times}"}


async def test_c12b_prefetch_shows_remembered_user_and_keeps_token() -> None:
    async with running_app() as app, browser(app) as http:
        await http.post("/register", json=ALICE)
        login = {"email": ALICE["email"], "password": ALICE["password"], "remember_me": True}
        await http.post("/login", json=login)
        token = http.cookies["__Host-remember_me"]
        http.cookies.delete("__Host-cart_session")
        for _ in range(2):
            response = await http.get("/dashboard", headers=PREFETCH)
            assert response.status_code == 200
            assert ALICE["email"] in response.text
            assert "set-cookie" not in response.headers
        assert (await http.get("/dashboard")).status_code == 200
        assert http.cookies["__Host-remember_me"] != token


async def test_c12b_previous_token_works_for_prefetch_as_for_request(clock: ManualClock) -> None:
    async with running_app() as app, browser(app) as http:
        app.state.accounts._clock = clock
        await http.post("/register", json=ALICE)
        login = {"email": ALICE["email"], "password": ALICE["password"], "remember_me": True}
        await http.post("/login", json=login)
        former = parse_token(http.cookies["__Host-remember_me"])
        assert former is not None
        http.cookies.delete("__Host-cart_session")
        await http.get("/dashboard")
        current = parse_token(http.cookies["__Host-remember_me"])
        assert current is not None
        remembered = app.state.accounts.get_remembered_user
        assert {user.name for user in (await remembered(former), await remembered(current))} == {"Alice"}
        clock.advance(60)
        assert await remembered(former) is None
        assert (await remembered(current)).name == "Alice"  # no token reuse was detected
        clock.advance(30 * 24 * 60 * 60)
        assert await remembered(current) is None
