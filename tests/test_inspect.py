"""`/inspect`: what a developer sees of the session at hand, and nobody in production."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2 as httpx
import pytest
from fastapi import FastAPI
from msgspec.structs import replace

from cartapp.session import codec
from cartapp.session.record import Record, key_of
from cartapp.session.stores.observed import Observation, ObservedStore
from cartapp.web.inspection import Footprint, Trail

from .running import running_shop
from .shop import ALICE, KEYBOARD, browser, shop, started

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html"}
COOKIE = "__Host-cart_session"
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with started() as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


async def inspected(client: httpx.AsyncClient) -> Any:
    answer = await client.get("/inspect", headers=JSON)
    assert answer.status_code == 200
    return answer.json()


def key(client: httpx.AsyncClient) -> str:
    return key_of(client.cookies[COOKIE])


async def record_of(app: FastAPI, client: httpx.AsyncClient) -> Record:
    record = await app.state.store.load(key(client))
    assert isinstance(record, Record)
    return record


def told(requests: list[Any]) -> list[tuple[str, list[str]]]:
    """Each request and its operations, the first one first."""
    return [
        (
            f"{one['method']} {one['path']} {one['status']}",
            [f"{each['operation']} {each['outcome']}" for each in one["operations"]],
        )
        for one in reversed(requests)
    ]


async def test_without_a_session(client: httpx.AsyncClient) -> None:
    report = await inspected(client)
    assert (report["session"], report["requests"], report["backend"]) == (None, [], "memory")
    assert report["cookie"] == {
        "name": COOKIE,
        "attributes": ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax", "Secure"],
    }
    page = await client.get("/inspect", headers=PAGE)
    assert "There is none" in page.text
    assert "Set-Cookie" not in page.headers


async def test_what_the_session_is(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await record_of(app, client)
    session = (await inspected(client))["session"]
    assert session["handle"] == key(client)
    assert (session["version"], session["user"]) == (record.version, None)
    assert (session["size"], session["size_limit"]) == (len(record.data), 65536)
    times = [datetime.fromisoformat(session[name]) for name in ("created", "expires_unless_used")]
    assert (times[1] - times[0]).total_seconds() == 3960  # an hour, and a tenth for the uses not stored
    latest = datetime.fromisoformat(session["expires_at_the_latest"])
    assert (latest - times[0]).days == 7
    assert session["age_seconds"] >= session["idle_seconds"] >= 0
    page = (await client.get("/inspect", headers=PAGE)).text
    for shown in (key(client), COOKIE, "SameSite=Lax", f"{len(record.data)} bytes of at most 65536"):
        assert shown in page


async def test_values_keep_their_types(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await record_of(app, client)
    values = {
        "price": Decimal("79.99"),
        "day": date(2026, 2, 28),
        "at": datetime(2026, 2, 28, 12, tzinfo=UTC),
        "raw": b"\x00\xff",
        "id": UUID(int=7),
        "list": [1, {"a": None}],
        "name": "<script>alert(1)</script> {{7*7}}",
    }
    data = codec.join({name: codec.encode(name, value) for name, value in values.items()})
    await app.state.store.save(replace(record, data=data), expected=record.version)
    shown = (await inspected(client))["session"]["data"]
    assert {entry["key"]: entry["type"] for entry in shown} == {
        name: type(value).__name__ for name, value in values.items()
    }
    assert {entry["key"]: entry["stored"] for entry in shown} == {
        "price": {"$Decimal": "79.99"},
        "day": {"$date": "2026-02-28"},
        "at": {"$datetime": "2026-02-28T12:00:00+00:00"},
        "raw": {"$bytes": "AP8="},
        "id": {"$UUID": str(UUID(int=7))},
        "list": [1, {"a": None}],
        "name": "<script>alert(1)</script> {{7*7}}",
    }
    page = (await client.get("/inspect", headers=PAGE)).text
    assert "<script>alert" not in page
    assert "{{7*7}}" in page


async def test_what_each_request_did_to_the_store(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.get("/healthz")
    await client.get("/api/cart")
    await client.get("/static/style.css")
    await client.put("/api/cart/1", json={"quantity": 3})
    await client.put("/api/cart/2", json={"quantity": 3})
    before = await inspected(client)
    assert told(before["requests"]) == [
        ("POST /api/cart/add 200", ["create created"]),
        ("GET /healthz 200", []),
        ("GET /api/cart 200", ["load found"]),
        ("PUT /api/cart/1 200", ["load found", "save saved"]),
        ("PUT /api/cart/2 404", ["load found"]),
    ]
    assert all(
        each["milliseconds"] > 0 and each["session"] == "this"
        for one in before["requests"]
        for each in one["operations"]
    )
    await client.post("/register", json=ALICE)
    await client.post("/logout", json={})
    assert await inspected(client) | {"cookie": {}} == {
        "backend": "memory",
        "cookie": {},
        "session": None,
        "requests": [],
    }


async def test_the_trail_goes_on_under_a_new_id(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    former = key(client)
    await client.post("/register", json=ALICE)
    report = await inspected(client)
    assert report["session"]["handle"] == key(client) != former
    checked = ["load found", "touch touched"]  # that the store takes a write
    assert told(report["requests"]) == [
        ("POST /api/cart/add 200", ["create created"]),
        ("POST /register 201", [*checked, "create created", "save retired", "touch touched"]),
    ]
    places = [each["session"] for each in report["requests"][0]["operations"]]
    assert places == ["another", "another", "this", "another", "this"]
    assert former not in str(report)


async def test_a_flash_comes_and_goes(client: httpx.AsyncClient) -> None:
    def keys(report: Any) -> set[str]:
        return {entry["key"] for entry in report["session"]["data"]}

    await client.post("/profile/update", data={"name": "Ann"})
    assert "_flash" in keys(await inspected(client))
    assert "_flash" in keys(await inspected(client))
    assert "Profile updated successfully" in (await client.get("/profile", headers=PAGE)).text
    assert "_flash" not in keys(await inspected(client))


@pytest.mark.parametrize("headers", [JSON, PAGE])
async def test_looking_changes_nothing(
    app: FastAPI, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await record_of(app, client)
    earlier = replace(record, last_used=record.last_used - 1_000_000)  # so that a keep-alive is due
    await app.state.store.save(earlier, expected=record.version)
    before = await record_of(app, client)
    answer = await client.get("/inspect", headers=headers)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Cookie" in answer.headers["Vary"]
    assert "Set-Cookie" not in answer.headers
    assert await record_of(app, client) == before
    assert [one["path"] for one in (await inspected(client))["requests"]] == ["/api/cart/add"]
    await client.get("/api/cart")
    assert await record_of(app, client) != before  # which shows that it was due


async def test_neither_ids_nor_others_are_shown(app: FastAPI) -> None:
    async with browser(app) as alice, browser(app) as eve:
        await eve.post("/api/cart/add", json=KEYBOARD | {"name": "Eve's thing"})
        await alice.post("/register", json=ALICE)
        await alice.post("/login", json=ALICE | {"remember_me": True})
        await eve.post("/register", json=ALICE | {"email": "eve@example.com"})
        denied = await eve.delete(f"/account/sessions/{key(alice)}")
        assert denied.status_code == 404
        for headers in (JSON, PAGE):
            seen = (await alice.get("/inspect", headers=headers)).text
            secrets = [
                alice.cookies[COOKIE],
                alice.cookies["__Host-remember_me"],
                eve.cookies[COOKIE],
                key(eve),
            ]
            secrets += alice.cookies["__Host-remember_me"].split(".")
            assert not [secret for secret in secrets if secret in seen]
            assert "Eve" not in seen
            assert "DELETE" not in seen
            assert key(eve) in (own := (await eve.get("/inspect", headers=headers)).text)
            assert own.count("another") == 5  # of her register, and the session that she asked for in vain


@pytest.mark.parametrize("cookie", ["x", "A" * 43, "A" * 5000])
async def test_a_cookie_that_means_nothing(client: httpx.AsyncClient, cookie: str) -> None:
    client.cookies.set(COOKIE, cookie)
    await client.get("/api/cart")
    report = await inspected(client)
    assert (report["session"], report["requests"]) == (None, [])


async def test_a_given_up_id_shows_nothing(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    former = client.cookies[COOKIE]
    await client.post("/register", json=ALICE)
    async with browser(app) as thief:
        thief.cookies.set(COOKIE, former)
        report = await inspected(thief)
        assert (report["session"], report["requests"]) == (None, [])


async def test_the_cookie_backend() -> None:
    async with shop(session_backend="cookie", secret_key=SECRET) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        report = await inspected(client)
        assert report["backend"] == "cookie"
        assert [entry["key"] for entry in report["session"]["data"]] == ["cart"]
        page = (await client.get("/inspect", headers=PAGE)).text
        assert "The cookie holds the session itself" in page
        assert client.cookies[COOKIE] not in page


async def test_production_has_none_of_it() -> None:
    async with started(env="production", secret_key=SECRET) as app, browser(app) as client:
        assert not isinstance(app.state.store, ObservedStore)
        assert "Trailed" not in str(app.user_middleware)
        assert (await client.get("/inspect")).status_code == 404
        for path in ("/", "/cart", "/nope"):
            assert "/inspect" not in (await client.get(path, headers=PAGE)).text


async def test_parallel_requests_do_not_mix(app: FastAPI) -> None:
    async def visit(name: str) -> None:
        async with browser(app) as client:
            for number in range(5):
                await client.post("/profile/update", json={"name": f"{name} for the {number}th time"})
            report = await inspected(client)
            assert report["session"]["data"][0]["stored"]["name"] == f"{name} for the 4th time"
            counted = [len(operations) for _, operations in told(report["requests"])]
            assert counted == [1, 2, 2, 2, 2]

    await asyncio.gather(*(visit(f"visitor {number}") for number in range(10)))


def test_the_trail_is_bounded() -> None:
    trail = Trail()
    done = Observation("load", "any", "found", 0.001)
    with trail.following() as operations:
        for _ in range(1000):
            trail.observe(done)
        assert len(operations) == 50
    trail.observe(done)  # of no request
    for number in range(1001):
        for _ in range(30):
            trail.add(str(number), Footprint(datetime.now(UTC), "GET", "/", 200))
    assert trail.of("0") == []
    assert [len(trail.of(name)) for name in ("1", "1000")] == [20, 20]
    trail.add(None, Footprint(datetime.now(UTC), "GET", "/", 200))
    assert len(trail.of("1")) == 20


async def test_on_a_real_server(tmp_path: Path) -> None:
    with running_shop(tmp_path, {}, workers=1) as shop:
        async with shop.client() as client:
            await client.get("/visit-counter")
            await client.get("/visit-counter")
            report = await inspected(client)
            assert report["backend"] == "file"
            assert report["cookie"]["name"] == "cart_session"
            assert report["session"]["data"] == [
                {"key": "visit_count", "type": "int", "size": 1, "stored": 2}
            ]
            assert told(report["requests"]) == [
                ("GET /visit-counter 200", ["create created"]),
                ("GET /visit-counter 200", ["load found", "save saved"]),
            ]
