"""Request IDs, and access lines with fields and without secrets."""

import json
import logging
from pathlib import Path

import pytest

from cartapp.session.record import key_from_id
from tests.support.polling import wait_for
from tests.support.shop import ALICE, KEYBOARD, browser, running_app
from tests.support.shop_server import running_shop

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-ID": "abc-123"}, "abc-123"),
        ({"X-Request-ID": "a" * 64}, "a" * 64),
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}, TRACE),
        ({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "mine"}, "mine"),
        ({"traceparent": f"cc-{TRACE}-b7ad6b7169203331-01"}, TRACE),
    ],
)
async def test_a_given_id_is_kept(headers: dict[str, str], expected: str) -> None:
    async with running_app() as app, browser(app) as client:
        for path in ("/api/cart", "/nope", "/healthz"):
            response = await client.get(path, headers=headers)
            assert response.headers.get_list("X-Request-ID") == [expected]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Request-ID": "a" * 65},
        {"X-Request-ID": "a b"},
        {"X-Request-ID": ""},
        {"X-Request-ID": 'a"b'},
        {"traceparent": f"00-{'0' * 32}-b7ad6b7169203331-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": f"ff-{TRACE}-b7ad6b7169203331-01"},
        {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01-more"},
        {"traceparent": f"00-{TRACE.upper()}-b7ad6b7169203331-01"},
        {"traceparent": TRACE},
    ],
)
async def test_any_other_id_is_replaced(headers: dict[str, str]) -> None:
    async with running_app() as app, browser(app) as client:
        ids = [(await client.get("/healthz", headers=headers)).headers["X-Request-ID"] for _ in range(2)]
        assert len({*ids, *headers.values()}) == 2 + len(headers)
        assert all(len(one) == 32 for one in ids)


async def test_access_line_has_the_handle_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cartapp.access")
    async with running_app() as app, browser(app) as client:
        await client.post("/api/cart/add?token=secret", json=KEYBOARD)
        (cookie,) = client.cookies.values()
        await client.get("/nope")
    added, missing = (record for record in caplog.records if record.name == "cartapp.access")
    fields = added.fields  # type: ignore[attr-defined]
    assert fields.pop("duration_ms") > 0
    assert fields == {
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/api/cart/add",
        "status": 200,
        "session": key_from_id(cookie),
    }
    assert "secret" not in added.getMessage()
    assert cookie not in added.getMessage()
    assert missing.fields["status"] == 404  # type: ignore[attr-defined]
    assert "session" not in missing.fields  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_user", [False, True])
async def test_access_line_of_a_log_out_has_the_handle(
    is_user: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_app() as app, browser(app) as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        if is_user:
            await client.post("/register", json=ALICE)
        (cookie,) = client.cookies.values()
        caplog.set_level(logging.INFO, "cartapp.access")
        await client.post("/logout", json={})
        assert not client.cookies
    (line,) = (record for record in caplog.records if record.name == "cartapp.access")
    assert line.fields["session"] == key_from_id(cookie)  # type: ignore[attr-defined]


async def test_json_lines_of_a_server(folder: Path) -> None:
    """Every record of a request has its ID: the access line, and what was logged before it."""
    settings = {
        "CART_ENV": "production",
        "CART_LOG_LEVEL": "INFO",
        "CART_SECRET_KEY": "mVY1f8yWq0yG5PpQ3n7rT2uXz9aBcDeFgHiJkLmNoPQ",
    }
    with running_shop(folder, settings, workers=1) as shop:
        async with shop.client() as client:
            await client.post(
                "/login",
                json={"email": "stranger@example.com", "password": "wrong"},
                headers={"X-Request-ID": "shown-by-the-proxy"},
            )

        def found() -> list[dict[str, object]]:
            lines = [json.loads(line) for line in shop.server.output.splitlines() if line.startswith("{")]
            return [line for line in lines if line.get("request_id") == "shown-by-the-proxy"]

        wait_for(lambda: len(found()) >= 2)
        event, access = found()[0], found()[-1]
        assert event["event"] == "login_failed"
        assert (access["logger"], access["status"], access["path"]) == ("cartapp.access", 401, "/login")
        assert isinstance(access["pid"], int)
