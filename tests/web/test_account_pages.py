"""Account pages and forms."""

import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest

from cartapp.accounts import UserAdministration, events
from cartapp.logs import JsonFormatter
from cartapp.session import SessionInfo, Sessions
from cartapp.web.account.browsers import browser_from_user_agent
from cartapp.web.i18n.labels import UNKNOWN_BROWSER
from cartapp.web.schemas.account_requests import own_path
from tests.support.accounts import open_database
from tests.support.shop import ALICE, KEYBOARD, shop

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with shop() as client:
        yield client


async def test_a_new_shop_has_no_user(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cart.db"
    async with shop(database_url=url) as client:
        assert (await client.get("/")).status_code == 200
    async with open_database(url) as database:
        assert await UserAdministration(database).list_users() == []


async def test_password_fields_support_password_managers(client: httpx.AsyncClient) -> None:
    entry = [(await client.get(path)).text for path in ("/login", "/register")]
    await client.post("/register", json=ALICE)
    pages = [*entry, *[(await client.get(path)).text for path in ("/dashboard", "/profile")]]
    fields = [field for page in pages for field in re.findall(r'<input[^>]*name="\w*password"[^>]*>', page)]
    assert len(fields) == 5
    for field in fields:
        assert 'type="password"' in field
        assert re.search('autocomplete="(current|new)-password"', field)
        assert "maxlength" not in field
        assert "onpaste" not in field
    assert not [page for page in pages if ALICE["password"] in page]


@pytest.mark.parametrize("path", ["/", "/cart", "/profile", "/preferences", "/dashboard"])
async def test_every_page_of_a_user_has_a_logout_form(client: httpx.AsyncClient, path: str) -> None:
    if path != "/dashboard":
        page = (await client.get(path)).text
        assert ("/login" in page, "/logout" in page) == (True, False)
    await client.post("/register", json=ALICE)
    page = (await client.get(path)).text
    assert ('<form method="post" action="/logout">' in page, "/login" in page) == (True, False)
    assert ALICE["name"] in page


async def test_user_input_is_escaped(client: httpx.AsyncClient) -> None:
    name = "<script>alert(1)</script>{{7*7}}\"'"
    await client.post("/register", json={**ALICE, "name": name})
    for path in ("/", "/dashboard", "/profile"):
        page = (await client.get(path)).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}&#34;&#39;" in page


async def test_rejected_registration_shows_the_form_again(client: httpx.AsyncClient) -> None:
    response = await client.post("/register", data={**ALICE, "password": "password"})
    assert response.status_code == 400
    assert "too common" in response.text
    assert ALICE["email"] in response.text
    assert not [line for line in response.headers.get_list("set-cookie") if "session" in line]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\x00b"),
        ("name", "n" * 201),
        ("name", None),
        ("email", ""),
        ("email", "alice"),
        ("email", "a@b"),
        ("email", "a\x00@example.com"),
        ("email", f"{'a' * 250}@example.com"),
        ("password", None),
        ("password", 12345678),
        ("password", "1234567"),
    ],
)
async def test_invalid_registration_returns_400(client: httpx.AsyncClient, field: str, value: object) -> None:
    response = await client.post("/register", json={**ALICE, field: value})
    assert (response.status_code, "error" in response.json()) == (400, True)
    assert not response.headers.get_list("set-cookie")


async def test_registration_can_be_closed() -> None:
    async with shop(registration="closed") as client:
        response = await client.post("/register", json=ALICE)
        assert (response.status_code, response.json()) == (403, {"error": "Registration is closed"})
        assert (await client.get("/register")).status_code == 403
        assert "/register" not in (await client.get("/login")).text


async def test_guest_cart_survives_registration(client: httpx.AsyncClient) -> None:
    await client.post("/api/cart/add", json=KEYBOARD)
    await client.post("/register", json=ALICE)
    assert (await client.get("/api/cart")).json()["item_count"] == 1


async def test_unknown_user_costs_the_same_hashing_work(client: httpx.AsyncClient) -> None:
    await client.post("/register", json=ALICE)
    passwords = client._transport.app.state.accounts.passwords  # type: ignore[attr-defined]
    for email in (ALICE["email"], "unknown@example.com"):
        before = passwords.checks
        assert (await client.post("/login", json={"email": email, "password": "wrong"})).status_code == 401
        assert passwords.checks == before + 1


async def test_h11_session_list_reads_only_the_users_own_sessions(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = client._transport.app  # type: ignore[attr-defined]
    read = 0

    async def find(self: Sessions, user: str | None = None) -> AsyncIterator[SessionInfo]:
        nonlocal read
        async for info in found(self, user):
            read += 1
            yield info

    found = Sessions.find
    monkeypatch.setattr(Sessions, "find", find)
    await client.post("/register", json=ALICE)
    assert len((await client.get("/account/sessions")).json()["sessions"]) == 1
    assert read == 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as other:
        await other.post("/login", json={"email": ALICE["email"], "password": ALICE["password"]})
        assert len((await client.get("/account/sessions")).json()["sessions"]) == 2
    assert 1 <= read <= 2


@pytest.mark.parametrize("path", ["/", "/cart", "/cart?a=b&c=%2F", "/a-b_c~d[e]#f"])
def test_own_path_accepts_local_paths(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "cart", "//a", "/\\a", "/a\\b", "/a b", "/\n/a", "/é", "http://a", "javascript:a"]
)
def test_own_path_rejects_external_paths(path: str) -> None:
    assert own_path(path) is None


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
            "Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.5 Mobile/15E148 Safari/604.1",
            "Safari on iPhone",
        ),
        ("curl/8.14.1", "curl"),
        ("python-httpx/0.28", "python-httpx"),
        ("Mozilla/5.0", UNKNOWN_BROWSER),
        ("<script>", UNKNOWN_BROWSER),
        ("", UNKNOWN_BROWSER),
        ("x" * 4000, UNKNOWN_BROWSER),
    ],
)
def test_browser_from_user_agent(user_agent: str, name: str) -> None:
    assert browser_from_user_agent(user_agent) == name


def test_security_event_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "cartapp.security"):
        events.record(
            "login_failed", account='x" event=forged\nevent=forged', network="192.0.2.0/24", user=None
        )
    (record,) = caplog.records
    assert record.getMessage() == (
        'event=login_failed account="x\\" event=forged\\nevent=forged" network=192.0.2.0/24'
    )
    entry = json.loads(JsonFormatter().format(record))
    assert entry["event"] == "login_failed"
    assert entry["account"] == 'x" event=forged\nevent=forged'
    assert entry["level"] == "WARNING"
