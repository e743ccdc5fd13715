"""`/inspect`: the current session as developers see it, absent in production."""

import asyncio
import re
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
from cartapp.session.record import Record, key_from_id
from cartapp.session.stores.wrappers.instrumentation import InstrumentedStore, StoreCall
from cartapp.web.inspect.trace import RequestTrace, TraceLog
from tests.support.shop import ALICE, KEYBOARD, browser, running_app, shop
from tests.support.shop_server import running_shop

pytestmark = pytest.mark.anyio

JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html"}
COOKIE = "__Host-cart_session"
SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


@pytest.fixture
async def app() -> AsyncIterator[FastAPI]:
    async with running_app() as app:
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as client:
        yield client


async def inspect_session(client: httpx.AsyncClient) -> Any:
    response = await client.get("/inspect", headers=JSON)
    assert response.status_code == 200
    return response.json()


def key(client: httpx.AsyncClient) -> str:
    return key_from_id(client.cookies[COOKIE])


async def load_record(app: FastAPI, client: httpx.AsyncClient) -> Record:
    record = await app.state.session_manager.store.load(key(client))
    assert isinstance(record, Record)
    return record


def operations_by_request(requests: list[Any]) -> list[tuple[str, list[str]]]:
    """Return each request with its operations, oldest first."""
    return [
        (
            f"{one['method']} {one['path']} {one['status']}",
            [f"{each['operation']} {each['outcome']}" for each in one["operations"]],
        )
        for one in reversed(requests)
    ]


async def test_reports_no_session_without_cookie(client: httpx.AsyncClient) -> None:
    report = await inspect_session(client)
    assert (report["session"], report["requests"], report["backend"]) == (None, [], "memory")
    assert report["cookie"] == {
        "name": COOKIE,
        "attributes": ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax", "Secure"],
    }
    page = await client.get("/inspect", headers=PAGE)
    assert "No session: " in page.text
    assert "Set-Cookie" not in page.headers


async def test_reports_session_metadata(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await load_record(app, client)
    session = (await inspect_session(client))["session"]
    assert session["handle"] == key(client)
    assert (session["version"], session["user"]) == (record.version, None)
    assert (session["size"], session["size_limit"]) == (len(record.data), 65536)
    times = [datetime.fromisoformat(session[name]) for name in ("created", "expires_unless_used")]
    assert (times[1] - times[0]).total_seconds() == 3960  # an hour, and a tenth for uses that were not stored
    latest = datetime.fromisoformat(session["expires_at_the_latest"])
    assert (latest - times[0]).days == 7
    assert session["age_seconds"] >= session["idle_seconds"] >= 0
    page = (await client.get("/inspect", headers=PAGE)).text
    for shown in (key(client), COOKIE, "SameSite=Lax", f"{len(record.data)} of 65536 bytes"):
        assert shown in page


async def test_shows_values_with_their_types(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await load_record(app, client)
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
    await app.state.session_manager.store.save(replace(record, data=data), expected=record.version)
    shown = (await inspect_session(client))["session"]["data"]
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


async def test_lists_store_operations_of_each_request(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.get("/healthz")
    await client.get("/api/cart")
    await client.get("/static/style.css")
    await client.put("/api/cart/1", json={"quantity": 3})
    await client.put("/api/cart/2", json={"quantity": 3})
    before = await inspect_session(client)
    assert operations_by_request(before["requests"]) == [
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
    assert await inspect_session(client) | {"cookie": {}} == {
        "backend": "memory",
        "cookie": {},
        "session": None,
        "requests": [],
    }


async def test_trace_continues_after_rotation(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    former = key(client)
    await client.post("/register", json=ALICE)
    report = await inspect_session(client)
    assert report["session"]["handle"] == key(client) != former
    checked = ["load found", "touch touched"]  # a check that the store is writable
    assert operations_by_request(report["requests"]) == [
        ("POST /api/cart/add 200", ["create created"]),
        ("POST /register 201", [*checked, "create created", "save tombstone", "touch touched"]),
    ]
    places = [each["session"] for each in report["requests"][0]["operations"]]
    assert places == ["another", "another", "this", "another", "this"]
    assert former not in str(report)


async def test_server_timing_names_the_operations(client: httpx.AsyncClient) -> None:
    """W3C Server Timing; durations in milliseconds."""
    await client.post("/api/cart/add", json=KEYBOARD)
    changed = await client.put("/api/cart/1", json={"quantity": 2})
    pattern = r'total;desc="PUT";dur=[\d.]+, load;desc="found";dur=[\d.]+, save;desc="saved";dur=[\d.]+'
    assert re.fullmatch(pattern, changed.headers["Server-Timing"])
    assert re.fullmatch(
        r'total;desc="GET";dur=[\d.]+', (await client.get("/healthz")).headers["Server-Timing"]
    )
    assert "Server-Timing" not in (await client.get("/inspect")).headers


async def test_inspecting_does_not_consume_flashes(client: httpx.AsyncClient) -> None:
    def keys(report: Any) -> set[str]:
        return {entry["key"] for entry in report["session"]["data"]}

    await client.post("/profile/update", data={"name": "Ann"})
    assert "_flash" in keys(await inspect_session(client))
    assert "_flash" in keys(await inspect_session(client))
    assert "Profile updated successfully" in (await client.get("/profile", headers=PAGE)).text
    assert "_flash" not in keys(await inspect_session(client))


@pytest.mark.parametrize("headers", [JSON, PAGE])
async def test_inspecting_does_not_change_the_session(
    app: FastAPI, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    record = await load_record(app, client)
    earlier = replace(record, last_used=record.last_used - 1_000_000)  # a keep-alive is due
    await app.state.session_manager.store.save(earlier, expected=record.version)
    before = await load_record(app, client)
    response = await client.get("/inspect", headers=headers)
    assert response.headers["Cache-Control"] == "no-store"
    assert "Cookie" in response.headers["Vary"]
    assert "Set-Cookie" not in response.headers
    assert await load_record(app, client) == before
    assert [one["path"] for one in (await inspect_session(client))["requests"]] == ["/api/cart/add"]
    await client.get("/api/cart")
    assert await load_record(app, client) != before  # the keep-alive was due


async def test_hides_session_ids_and_other_sessions(app: FastAPI) -> None:
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
            assert "s thing" not in seen
            assert "DELETE" not in seen
            assert key(eve) in (own := (await eve.get("/inspect", headers=headers)).text)
            assert own.count("another") == 5  # those of the registration and of the denied request


@pytest.mark.parametrize("cookie", ["x", "A" * 43, "A" * 5000])
async def test_ignores_invalid_cookie(client: httpx.AsyncClient, cookie: str) -> None:
    client.cookies.set(COOKIE, cookie)
    await client.get("/api/cart")
    report = await inspect_session(client)
    assert (report["session"], report["requests"]) == (None, [])


async def test_shows_nothing_for_rotated_id(app: FastAPI, client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    former = client.cookies[COOKIE]
    await client.post("/register", json=ALICE)
    async with browser(app) as thief:
        thief.cookies.set(COOKIE, former)
        report = await inspect_session(thief)
        assert (report["session"], report["requests"]) == (None, [])


async def test_cookie_backend() -> None:
    async with shop(session_backend="cookie", secret_key=SECRET) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        report = await inspect_session(client)
        assert report["backend"] == "cookie"
        assert [entry["key"] for entry in report["session"]["data"]] == ["cart"]
        page = (await client.get("/inspect", headers=PAGE)).text
        assert "The cookie holds the session itself" in page
        assert client.cookies[COOKIE] not in page


async def test_is_absent_in_production() -> None:
    async with running_app(env="production", secret_key=SECRET) as app, browser(app) as client:
        assert not isinstance(app.state.session_manager.store, InstrumentedStore)
        assert "RequestTraceMiddleware" not in str(app.user_middleware)
        assert (await client.get("/inspect")).status_code == 404
        for path in ("/", "/cart", "/nope"):
            response = await client.get(path, headers=PAGE)
            assert "/inspect" not in response.text
            assert "session-strip" not in response.text
            assert "Server-Timing" not in response.headers


async def test_concurrent_requests_have_separate_traces(app: FastAPI) -> None:
    async def visit(name: str) -> None:
        async with browser(app) as client:
            for number in range(5):
                await client.post("/profile/update", json={"name": f"{name} for the {number}th time"})
            report = await inspect_session(client)
            assert report["session"]["data"][0]["stored"]["name"] == f"{name} for the 4th time"
            counted = [len(operations) for _, operations in operations_by_request(report["requests"])]
            assert counted == [1, 2, 2, 2, 2]

    await asyncio.gather(*(visit(f"visitor {number}") for number in range(10)))


def test_trace_log_is_bounded() -> None:
    traces = TraceLog()
    done = StoreCall("load", "any", "found", 0.001)
    with traces.record() as operations:
        for _ in range(1000):
            traces.observe(done)
        assert len(operations) == 50
    traces.observe(done)  # outside a request
    for number in range(1001):
        for _ in range(30):
            traces.add(str(number), RequestTrace(datetime.now(UTC), "GET", "/", 200))
    assert traces.get("0") == []
    assert [len(traces.get(name)) for name in ("1", "1000")] == [20, 20]
    traces.add(None, RequestTrace(datetime.now(UTC), "GET", "/", 200))
    assert len(traces.get("1")) == 20


async def test_on_a_real_server(tmp_path: Path) -> None:
    with running_shop(tmp_path, {}, workers=1) as shop:
        async with shop.client() as client:
            await client.get("/visit-counter")
            await client.get("/visit-counter")
            report = await inspect_session(client)
            assert report["backend"] == "file"
            assert report["cookie"]["name"] == "cart_session"
            assert report["session"]["data"] == [
                {"key": "visit_count", "type": "int", "size": 1, "stored": 2}
            ]
            assert operations_by_request(report["requests"]) == [
                ("GET /visit-counter 200", ["create created"]),
                ("GET /visit-counter 200", ["load found", "save saved"]),
            ]
