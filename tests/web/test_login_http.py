"""Log-in over HTTP: `cart serve` with two workers on each kind of session store."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import make_url, update

from cartapp.accounts import UserAdministration
from cartapp.accounts.tables import REMEMBER_ME
from tests.support.accounts import open_database
from tests.support.databases import SERVERS, emptied
from tests.support.requirements import skip_or_fail
from tests.support.schema import with_schema
from tests.support.shop import EMPTY, KEYBOARD
from tests.support.shop_server import Shop, running_shop

pytestmark = pytest.mark.anyio

PASSWORD, OTHER = "a long phrase of mine", "another phrase of mine"
SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
LISTABLE = ("file", "database")

_numbers = count()

CHANGING = ("date", "server-timing", "x-request-id")
"""Headers that differ from response to response."""

one_backend = pytest.mark.parametrize("server", ["file"], indirect=True)
"""For checks that do not depend on where sessions and users are stored."""


@dataclass
class RunningShop:
    """A running shop, and the secrets that its log must not contain."""

    shop: Shop
    backend: str
    url: str
    """URL of the accounts database."""
    secrets: set[str]

    def client(self, cookies: dict[str, str] | None = None) -> httpx.AsyncClient:
        """Return a browser; all cookies set are added to `secrets`."""

        async def note(response: httpx.Response) -> None:
            for line in response.headers.get_list("set-cookie"):
                self.secrets.add(line.partition(";")[0].partition("=")[2])

        client = httpx.AsyncClient(
            base_url=self.shop.url,
            timeout=60,
            limits=httpx.Limits(max_keepalive_connections=0),  # each request reaches any free worker
            verify=False,  # plain http: saves 25 ms for reading all certificate authorities
            event_hooks={"response": [note]},
        )
        for name, value in (cookies or {}).items():
            client.cookies.set(name, value, domain="127.0.0.1")
        return client

    def copy(self, client: httpx.AsyncClient, *names: str) -> httpx.AsyncClient:
        """Return another browser with all cookies of `client`, or those of these names."""
        return self.client(
            {name: value for name, value in client.cookies.items() if not names or name in names}
        )

    async def user(self, *, remember: bool = False) -> tuple[httpx.AsyncClient, str]:
        """Register and log in a new user; return the browser and the e-mail address."""
        number = next(_numbers)
        email = f"user{number}@example.com"
        self.secrets |= {PASSWORD, OTHER}
        async with self.client() as first:
            first.headers["X-Forwarded-For"] = f"10.0.{number}.1"  # registrations are limited by network
            user = {"name": "Alice", "email": email, "password": PASSWORD}
            assert (await first.post("/register", json=user)).status_code == 201
        return await self.log_in(email, remember=remember), email

    async def log_in(
        self,
        email: str,
        password: str = PASSWORD,
        *,
        remember: bool = False,
        client: httpx.AsyncClient | None = None,
    ) -> httpx.AsyncClient:
        client = client or self.client()
        body = {"email": email, "password": password, "remember_me": remember}
        response = await client.post("/login", json=body)
        assert response.status_code == 200, response.text
        return client

    async def age_tokens(self, seconds: int) -> None:
        """Make the current validators older."""
        earlier = update(REMEMBER_ME).values(rotated=REMEMBER_ME.c.rotated - seconds * 1000)
        async with open_database(self.url) as database:
            await database.run(lambda connection: connection.execute(earlier))

    async def operator(self, method: str, *arguments: str) -> None:
        """Call a method of `UserAdministration`, as `cart users` does while the server runs."""
        async with open_database(self.url) as database:
            await getattr(UserAdministration(database), method)(*arguments)


# Every engine runs the tests of accounts; the session layer does not differ between engines here.
ENGINES = [
    pytest.param(name, marks=() if name == "postgresql" else pytest.mark.soak) for name in sorted(SERVERS)
]


@pytest.fixture(scope="module", params=["file", "cookie", "database", *ENGINES])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """Run a shop with users in SQLite, or with users and sessions in the named engine."""
    folder = tmp_path_factory.mktemp(request.param)
    backend, url = request.param, f"sqlite:///{folder}/data/cart.db"
    if request.param in SERVERS:
        backend, url = "database", with_schema(emptied(request.getfixturevalue(SERVERS[request.param]).url))
    settings = {
        "CART_SESSION_BACKEND": backend,
        "DATABASE_URL": url,
        "CART_SECRET_KEY": SECRET,
        "CART_LOG_LEVEL": "DEBUG",
        "CART_TRUSTED_PROXIES": "127.0.0.1",
        "CART_SESSION_TIMEOUT": "20",  # for busy machines
    }
    with running_shop(folder, settings, workers=2) as shop:
        yield RunningShop(shop, backend, url, {SECRET, *filter(None, [make_url(url).password])})


async def is_in(client: httpx.AsyncClient) -> bool:
    response = await client.get("/dashboard")
    assert (response.status_code, response.headers.get("location")) in ((200, None), (303, "/login"))
    return response.status_code == 200


# -- log-in -------------------------------------------------------------------------------------------------


async def test_json_responses(server: RunningShop) -> None:
    async with server.client() as client:
        user = {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}
        response = await client.post("/register", json=user)
        assert response.status_code == 201
        assert response.json() == {"message": "Registration successful", "user": response.json()["user"]}
        assert list(response.json()["user"]) == ["id", "name"]
        assert response.json()["user"]["name"] == "Bob"
        again = await client.post("/register", json={**user, "email": "BOB@example.com", "password": OTHER})
        assert (again.status_code, list(again.json())) == (409, ["error"])
        response = await client.post("/login", json={"email": "bob@example.com", "password": PASSWORD})
        assert response.json() == {"message": "Login successful", "user": response.json()["user"]}
        assert response.headers["cache-control"] == "no-store"
        assert (await client.post("/logout", json={})).json() == {"message": "Logged out"}
        wrong = await client.post("/login", json={"email": "bob@example.com", "password": "wrong"})
        assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid email or password"})


async def test_form_responses(server: RunningShop) -> None:
    async with server.client() as client:
        user = {"name": "<b>Eve</b>", "email": "eve@example.com", "password": PASSWORD}
        response = await client.post("/register", data=user)
        assert (response.status_code, response.headers["location"]) == (303, "/dashboard")
        page = (await client.get("/dashboard")).text
        assert "&lt;b&gt;Eve" in page
        assert "<b>Eve" not in page
        response = await client.post("/logout", data={})
        assert (response.status_code, response.headers["location"]) == (303, "/login")
        response = await client.post("/login", data={"email": "eve@example.com", "password": "<wrong>"})
        assert response.status_code == 401
        assert "Invalid email or password" in response.text
        assert 'value="eve@example.com"' in response.text
        assert "wrong&" not in response.text
        response = await client.post(
            "/login", data={"email": "eve@example.com", "password": PASSWORD, "next": "/cart?a=b"}
        )
        assert (response.status_code, response.headers["location"]) == (303, "/cart?a=b")


@one_backend
@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        " /cart",
        "evil",
        "/logout",
        "/logout?evil",
        "/cart/add",
        "/account/password#evil",
        "/no-such-page",
        "/%0d%0aSet-Cookie:x=1\r\nX: y",
        "",
    ],
)
async def test_login_redirects_only_to_own_pages(server: RunningShop, target: str) -> None:
    client, email = await server.user()
    response = await client.post("/login", data={"email": email, "password": PASSWORD, "next": target})
    assert (response.status_code, response.headers["location"]) == (303, "/dashboard")
    assert "evil" not in (await client.get("/login", params={"next": target})).text


async def test_login_rotates_the_id_and_keeps_the_cart(server: RunningShop) -> None:
    _, email = await server.user()
    async with server.client() as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        before = server.copy(client)
        await server.log_in(email, client=client)
        assert client.cookies["cart_session"] != before.cookies["cart_session"]
        assert (await client.get("/api/cart")).json()["item_count"] == 1
        assert [await is_in(one) for one in (before, client)] == [False, True]


async def test_login_does_not_adopt_a_planted_id(server: RunningShop) -> None:
    _, email = await server.user()
    planted = "A" * 43
    client = await server.log_in(email, client=server.client({"cart_session": planted}))
    assert client.cookies["cart_session"] != planted
    assert not await is_in(server.client({"cart_session": planted}))


async def test_second_login_rotates_the_id(server: RunningShop) -> None:
    client, email = await server.user()
    before = server.copy(client)
    await server.log_in(email, client=client)
    assert [await is_in(one) for one in (before, client)] == [False, True]


# -- log-out -----------------------------------------------------------------------------------------------


async def test_logout_invalidates_copied_cookies(server: RunningShop) -> None:
    client, _ = await server.user(remember=True)
    await client.post("/api/cart/add", json=KEYBOARD)
    copies = [server.copy(client), server.copy(client, "cart_session"), server.copy(client, "remember_me")]
    assert await is_in(server.copy(client, "cart_session"))
    response = await client.post("/logout", data={})
    assert {line.partition("=")[0] for line in response.headers.get_list("set-cookie")} == {
        "cart_session",
        "remember_me",
    }
    assert all("Max-Age=0" in line for line in response.headers.get_list("set-cookie"))
    for copy in copies:
        assert not await is_in(copy)
        assert (await copy.get("/api/cart")).json() == EMPTY


async def test_clearing_invalidates_copied_cookies(server: RunningShop) -> None:
    client, _ = await server.user()
    copy = server.copy(client)
    assert (await client.post("/api/session/clear")).json() == {"message": "Session cleared"}
    assert [await is_in(one) for one in (copy, client)] == [False, False]


async def test_password_change_ends_other_sessions_and_tokens(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    other = await server.log_in(email, remember=True)
    copy = server.copy(client)
    change = {"current_password": PASSWORD, "new_password": OTHER}
    response = await client.post("/account/password", json=change)
    assert (response.status_code, list(response.json())) == (200, ["message"])
    assert client.cookies["cart_session"] != copy.cookies["cart_session"]
    assert [await is_in(one) for one in (client, other, copy)] == [True, False, False]
    assert not await is_in(server.copy(other, "remember_me"))
    assert "remember_me" not in client.cookies
    assert await is_in(await server.log_in(email, OTHER))


@one_backend
async def test_rejected_password_change_has_the_right_status(server: RunningShop) -> None:
    client, _ = await server.user()
    responses = {
        (PASSWORD + " ", OTHER): 403,
        (PASSWORD, "short"): 400,
        (PASSWORD, "password"): 400,
        (PASSWORD, None): 400,
    }
    for (current, new), status in responses.items():
        change = {"current_password": current, "new_password": new}
        response = await client.post("/account/password", json=change)
        assert (response.status_code, list(response.json())) == (status, ["error"])
    assert (await server.client().post("/account/password", json={})).status_code == 401
    form = await client.post("/account/password", data={"current_password": "x", "new_password": OTHER})
    assert form.status_code == 403
    assert "The current password is wrong" in form.text
    assert await is_in(client)


async def test_disabled_user_is_logged_out_at_the_next_request(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    await server.operator("disable", email)
    assert not await is_in(client)
    assert not await is_in(server.copy(client, "remember_me"))
    wrong = await server.client().post("/login", json={"email": email, "password": PASSWORD})
    assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid email or password"})


async def test_removed_user_is_logged_out_at_the_next_request(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    await server.operator("remove", email)
    await server.operator("add", email, "Alice", PASSWORD)
    assert not await is_in(client)
    assert await is_in(await server.log_in(email))


async def test_operator_password_reset_ends_all_sessions_and_tokens(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    await server.operator("set_password", email, OTHER)
    assert not await is_in(client)
    assert not await is_in(server.copy(client, "remember_me"))
    assert await is_in(await server.log_in(email, OTHER))


# -- own sessions --------------------------------------------------------------------------------------------


async def list_sessions(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    response = await client.get("/account/sessions")
    assert response.status_code == 200
    sessions: list[dict[str, Any]] = response.json()["sessions"]
    return sessions


async def test_own_sessions_are_listed(server: RunningShop) -> None:
    _, email = await server.user()
    fox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = server.client()
    other.headers["user-agent"] = fox
    await server.log_in(email, client=other)
    (here,) = [one for one in await list_sessions(other) if one["current"]]
    listed = (await other.get("/account/sessions")).json()
    assert list(here) == ["handle", "browser", "created", "last_seen", "current"]
    assert here["browser"] == "Firefox on Linux"
    if server.backend in LISTABLE:
        assert len(listed["sessions"]) == 3  # with that of the registration
        assert "note" not in listed
    else:
        assert (len(listed["sessions"]), "cannot list" in listed["note"]) == (1, True)
    assert (await server.client().get("/account/sessions")).status_code == 401


async def test_ending_all_other_sessions(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    other = await server.log_in(email, remember=True)
    assert (await client.delete("/account/sessions")).status_code == 200
    assert [await is_in(one) for one in (client, other)] == [True, False]
    assert not await is_in(server.copy(other, "remember_me"))
    assert await is_in(server.copy(client, "remember_me"))
    other = await server.log_in(email)
    form = await client.post("/account/sessions/end-others", data={})
    assert (form.status_code, form.headers["location"]) == (303, "/dashboard")
    assert "All other sessions ended" in (await client.get("/dashboard")).text
    assert [await is_in(one) for one in (client, other)] == [True, False]


async def test_ending_one_session(server: RunningShop) -> None:
    client, email = await server.user()
    other = await server.log_in(email, remember=True)
    other_user, _ = await server.user()
    (handle,) = [one["handle"] for one in await list_sessions(other) if one["current"]]
    assert (await other_user.delete(f"/account/sessions/{handle}")).status_code == 404
    assert (await other_user.post(f"/account/sessions/{handle}/end", data={})).status_code == 404
    assert await is_in(other)
    ended = await client.delete(f"/account/sessions/{handle}")
    if server.backend not in LISTABLE:
        assert ended.status_code == 404
        ended = await other.delete(f"/account/sessions/{handle}")  # the current session can always be ended
    copy = server.copy(other, "remember_me")
    assert ended.status_code == 200
    assert [await is_in(one) for one in (client, other, copy)] == [True, False, False]
    assert (await client.delete(f"/account/sessions/{handle}")).status_code == 404
    assert (await client.delete("/account/sessions/nonsense")).status_code == 404


async def test_ending_the_current_session(server: RunningShop) -> None:
    client, _ = await server.user()
    (handle,) = [one["handle"] for one in await list_sessions(client) if one["current"]]
    copy = server.copy(client)
    form = await client.post(f"/account/sessions/{handle}/end", data={})
    assert (form.status_code, form.headers["location"]) == (303, "/login")
    assert [await is_in(one) for one in (client, copy)] == [False, False]


@one_backend
async def test_guest_cannot_use_account_routes(server: RunningShop) -> None:
    async with server.client() as guest:
        for method, path in [
            ("GET", "/account/sessions"),
            ("DELETE", "/account/sessions"),
            ("DELETE", f"/account/sessions/{'A' * 22}"),
            ("POST", "/account/password"),
            ("POST", "/account/sessions/end-others"),
            ("POST", f"/account/sessions/{'A' * 22}/end"),
        ]:
            response = await guest.request(method, path, headers={"Accept": "application/json"})
            assert (response.status_code, response.json()) == (401, {"error": "Login required"})
        for path in ("/account/password", "/account/sessions/end-others", "/account/sessions/x/end"):
            response = await guest.post(path, data={"a": "b"})
            assert (response.status_code, 'class="button" href="/login"' in response.text) == (401, True)


# -- the profile ---------------------------------------------------------------------------------------------


async def test_user_profile(server: RunningShop) -> None:
    client, email = await server.user()
    changed = await client.post("/profile/update", json={"name": "Alice Miller"})
    assert (changed.status_code, changed.headers["location"]) == (303, "/profile")
    page = (await client.get("/profile")).text
    assert ("Alice Miller" in page, email in page) == (True, True)
    assert "Profile updated successfully" in page
    assert "Profile updated successfully" not in (await client.get("/profile")).text
    new = f"new-{email}"
    for password, status in (("", 403), ("wrong", 403), (PASSWORD, 303)):
        sent = {"email": new, "current_password": password}
        assert (await client.post("/profile/update", json=sent)).status_code == status
    assert await is_in(await server.log_in(new))
    for bad in ({"name": " "}, {"name": "a\0b"}, {"email": ""}, {"email": "x"}, {"name": "n" * 201}):
        assert (await client.post("/profile/update", json=bad)).status_code == 400


# -- remembered devices --------------------------------------------------------------------------------------


async def test_token_reuse_ends_the_devices_sessions(server: RunningShop) -> None:
    client, email = await server.user(remember=True)
    other = await server.log_in(email, remember=True)
    thief, victim = server.copy(client, "remember_me"), server.copy(client, "remember_me")
    assert await is_in(thief)
    await server.age_tokens(60)
    assert not await is_in(victim)
    assert [await is_in(one) for one in (thief, client, other)] == [False, False, True]
    assert not await is_in(server.copy(thief, "remember_me"))
    assert "event=remember_me_theft" in read_log(server)


async def test_ten_concurrent_requests_with_one_remember_me_token(server: RunningShop) -> None:
    client, _ = await server.user(remember=True)
    async with server.client() as guest:
        await guest.post("/api/cart/add", json=KEYBOARD)
        session = guest.cookies["cart_session"]
    for cookies in ({}, {"cart_session": session}):
        token = client.cookies["remember_me"]
        browsers = [server.client({"remember_me": token, **cookies}) for _ in range(10)]
        responses = await asyncio.gather(*(browser.get("/dashboard") for browser in browsers))
        assert [response.status_code for response in responses] == [200] * 10
        tokens = {browser.cookies["remember_me"] for browser in browsers} - {token}
        assert len(tokens) == 1
        client.cookies.set("remember_me", tokens.pop(), domain="127.0.0.1")
        begun = [
            browser for browser in browsers if browser.cookies.get("cart_session") not in (None, session)
        ]
        assert begun
        assert all([await is_in(server.copy(browser, "cart_session")) for browser in begun])


# -- guessing ------------------------------------------------------------------------------------------------


async def test_unknown_user_and_wrong_password_look_the_same(server: RunningShop) -> None:
    _, email = await server.user()
    responses = []
    for typed in (email, "unknown@example.com"):
        for form in ("json", "data"):
            async with server.client() as client:
                sent: Any = {form: {"email": typed, "password": "wrong"}}
                response = await client.post("/login", **sent)
                headers = {name: text for name, text in response.headers.items() if name not in CHANGING}
                text = response.text.replace(typed, "…")
                headers["content-length"] = str(len(text))
                responses.append((response.status_code, headers, text))
    assert responses[:2] == responses[2:]


async def test_attempt_limit_is_shared_by_workers(server: RunningShop) -> None:
    _, email = await server.user()
    clients = [server.client() for _ in range(16)]
    wrong = {"email": email, "password": "wrong"}
    responses = await asyncio.gather(*(client.post("/login", json=wrong) for client in clients))
    statuses = [response.status_code for response in responses]
    assert (statuses.count(401), statuses.count(429)) == (10, 6), statuses
    limited = next(response for response in responses if response.status_code == 429)
    assert 1 <= int(limited.headers["retry-after"]) <= 60  # about 6, more for a late request
    assert list(limited.json()) == ["error"]
    form = await clients[0].post("/login", data=wrong)
    assert (form.status_code, "retry-after" in form.headers, "Too many attempts" in form.text) == (
        429,
        True,
        True,
    )


# -- the log -------------------------------------------------------------------------------------------------


def read_log(server: RunningShop) -> str:
    return (server.shop.folder / "output.log").read_text(errors="replace")


def test_log_has_events_and_no_secrets(server: RunningShop) -> None:
    if len(server.secrets) <= 50:
        skip_or_fail(
            "the whole file", "This test reads the log of all tests in this file: run the whole file."
        )
    log = read_log(server)
    for event in ("login_succeeded", "login_failed", "login_limited", "logged_out", "other_sessions_ended"):
        assert f"event={event}" in log
    for secret in server.secrets - {""}:
        for part in {secret, *secret.split(".")} - {""}:
            assert part not in log
