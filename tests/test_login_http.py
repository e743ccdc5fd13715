"""Log-in over HTTP: `cart serve` with two workers, for each kind of place that sessions can be kept in."""

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

from .accounts import opened
from .databases import SERVERS, emptied, with_schema
from .needs import unmet
from .running import Shop, running_shop
from .shop import EMPTY, KEYBOARD

pytestmark = pytest.mark.anyio

PASSWORD, OTHER = "a long phrase of mine", "another phrase of mine"
SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
LISTABLE = ("file", "database")

_numbers = count()


@dataclass
class House:
    """A running shop, and what a log of it must not show."""

    shop: Shop
    backend: str
    url: str
    """Of the accounts' database."""
    secrets: set[str]

    def client(self, cookies: dict[str, str] | None = None) -> httpx.AsyncClient:
        """A browser; everything secret that it is given or sends is noted."""

        async def note(answer: httpx.Response) -> None:
            for line in answer.headers.get_list("set-cookie"):
                self.secrets.add(line.partition(";")[0].partition("=")[2])

        client = httpx.AsyncClient(
            base_url=self.shop.url,
            timeout=60,
            limits=httpx.Limits(max_keepalive_connections=0),  # each request to whichever worker is free
            event_hooks={"response": [note]},
        )
        for name, value in (cookies or {}).items():
            client.cookies.set(name, value, domain="127.0.0.1")
        return client

    def copy(self, client: httpx.AsyncClient, *names: str) -> httpx.AsyncClient:
        """Another browser with all cookies of one, or those of these names."""
        return self.client(
            {name: value for name, value in client.cookies.items() if not names or name in names}
        )

    async def user(self, *, remember: bool = False) -> tuple[httpx.AsyncClient, str]:
        """A new user, logged in; and the address."""
        number = next(_numbers)
        email = f"user{number}@example.com"
        self.secrets |= {PASSWORD, OTHER}
        async with self.client() as first:
            first.headers["X-Forwarded-For"] = f"10.0.{number}.1"  # one network may not have so many
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
        wanted = {"email": email, "password": password, "remember_me": remember}
        answer = await client.post("/login", json=wanted)
        assert answer.status_code == 200, answer.text
        return client

    async def age_tokens(self, seconds: int) -> None:
        """Let the validators have been made earlier."""
        earlier = update(REMEMBER_ME).values(rotated=REMEMBER_ME.c.rotated - seconds * 1000)
        async with opened(self.url) as database:
            await database.run(lambda connection: connection.execute(earlier))

    async def operator(self, deed: str, *arguments: str) -> None:
        """What `cart users` does, beside the server."""
        async with opened(self.url) as database:
            await getattr(UserAdministration(database), deed)(*arguments)


@pytest.fixture(scope="module", params=["file", "cookie", "database", *SERVERS])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Users in SQLite; or, with the name of another engine, users and sessions there."""
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
        "CART_SESSION_TIMEOUT": "20",  # nothing is out of reach here, however busy the machine
    }
    with running_shop(folder, settings, workers=2) as shop:
        yield House(shop, backend, url, {SECRET, *filter(None, [make_url(url).password])})


async def is_in(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/dashboard")
    assert (answer.status_code, answer.headers.get("location")) in ((200, None), (303, "/login"))
    return answer.status_code == 200


# -- in ----------------------------------------------------------------------------------------------------


async def test_the_answers(house: House) -> None:
    async with house.client() as client:
        user = {"name": "Bob", "email": "bob@example.com", "password": PASSWORD}
        answer = await client.post("/register", json=user)
        assert answer.status_code == 201
        assert answer.json() == {"message": "Registration successful", "user": answer.json()["user"]}
        assert list(answer.json()["user"]) == ["id", "name"]
        assert answer.json()["user"]["name"] == "Bob"
        again = await client.post("/register", json={**user, "email": "BOB@example.com", "password": OTHER})
        assert (again.status_code, list(again.json())) == (409, ["error"])
        answer = await client.post("/login", json={"email": "bob@example.com", "password": PASSWORD})
        assert answer.json() == {"message": "Login successful", "user": answer.json()["user"]}
        assert answer.headers["cache-control"] == "no-store"
        assert (await client.post("/logout", json={})).json() == {"message": "Logged out"}
        wrong = await client.post("/login", json={"email": "bob@example.com", "password": "wrong"})
        assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid email or password"})


async def test_the_forms(house: House) -> None:
    async with house.client() as client:
        user = {"name": "<b>Eve</b>", "email": "eve@example.com", "password": PASSWORD}
        answer = await client.post("/register", data=user)
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        page = (await client.get("/dashboard")).text
        assert "&lt;b&gt;Eve" in page
        assert "<b>Eve" not in page
        answer = await client.post("/logout", data={})
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
        answer = await client.post("/login", data={"email": "eve@example.com", "password": "<wrong>"})
        assert answer.status_code == 401
        assert "Invalid email or password" in answer.text
        assert 'value="eve@example.com"' in answer.text
        assert "wrong&" not in answer.text
        answer = await client.post(
            "/login", data={"email": "eve@example.com", "password": PASSWORD, "next": "/cart?a=b"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/cart?a=b")


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
async def test_the_log_in_leads_to_own_pages_only(house: House, target: str) -> None:
    client, email = await house.user()
    answer = await client.post("/login", data={"email": email, "password": PASSWORD, "next": target})
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert "evil" not in (await client.get("/login", params={"next": target})).text


async def test_fixation_a_new_id_at_log_in_and_the_cart_goes_along(house: House) -> None:
    _, email = await house.user()
    async with house.client() as client:
        await client.post("/api/cart/add", json=KEYBOARD)
        before = house.copy(client)
        await house.log_in(email, client=client)
        assert client.cookies["cart_session"] != before.cookies["cart_session"]
        assert (await client.get("/api/cart")).json()["item_count"] == 1
        assert [await is_in(one) for one in (before, client)] == [False, True]


async def test_an_id_from_outside_is_not_adopted_by_a_log_in(house: House) -> None:
    _, email = await house.user()
    planted = "A" * 43
    client = await house.log_in(email, client=house.client({"cart_session": planted}))
    assert client.cookies["cart_session"] != planted
    assert not await is_in(house.client({"cart_session": planted}))


async def test_two_log_ins_get_two_ids(house: House) -> None:
    client, email = await house.user()
    before = house.copy(client)
    await house.log_in(email, client=client)
    assert [await is_in(one) for one in (before, client)] == [False, True]


# -- out ---------------------------------------------------------------------------------------------------


async def test_replay_after_log_out(house: House) -> None:
    client, _ = await house.user(remember=True)
    await client.post("/api/cart/add", json=KEYBOARD)
    copies = [house.copy(client), house.copy(client, "cart_session"), house.copy(client, "remember_me")]
    assert await is_in(house.copy(client, "cart_session"))
    answer = await client.post("/logout", data={})
    assert {line.partition("=")[0] for line in answer.headers.get_list("set-cookie")} == {
        "cart_session",
        "remember_me",
    }
    assert all("Max-Age=0" in line for line in answer.headers.get_list("set-cookie"))
    for copy in copies:
        assert not await is_in(copy)
        assert (await copy.get("/api/cart")).json() == EMPTY


async def test_replay_after_the_session_was_cleared(house: House) -> None:
    client, _ = await house.user()
    copy = house.copy(client)
    assert (await client.post("/api/session/clear")).json() == {"message": "Session cleared"}
    assert [await is_in(one) for one in (copy, client)] == [False, False]


async def test_a_new_password_ends_everything_else(house: House) -> None:
    client, email = await house.user(remember=True)
    other = await house.log_in(email, remember=True)
    copy = house.copy(client)
    change = {"current_password": PASSWORD, "new_password": OTHER}
    answer = await client.post("/account/password", json=change)
    assert (answer.status_code, list(answer.json())) == (200, ["message"])
    assert client.cookies["cart_session"] != copy.cookies["cart_session"]
    assert [await is_in(one) for one in (client, other, copy)] == [True, False, False]
    assert not await is_in(house.copy(other, "remember_me"))
    assert "remember_me" not in client.cookies
    assert await is_in(await house.log_in(email, OTHER))


async def test_a_new_password_is_refused_with_the_right_status(house: House) -> None:
    client, _ = await house.user()
    answers = {
        (PASSWORD + " ", OTHER): 403,
        (PASSWORD, "short"): 400,
        (PASSWORD, "password"): 400,
        (PASSWORD, None): 400,
    }
    for (current, new), status in answers.items():
        change = {"current_password": current, "new_password": new}
        answer = await client.post("/account/password", json=change)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert (await house.client().post("/account/password", json={})).status_code == 401
    form = await client.post("/account/password", data={"current_password": "x", "new_password": OTHER})
    assert form.status_code == 403
    assert "The current password is wrong" in form.text
    assert await is_in(client)


async def test_a_disabled_user_is_out_at_the_next_request(house: House) -> None:
    client, email = await house.user(remember=True)
    await house.operator("disable", email)
    assert not await is_in(client)
    assert not await is_in(house.copy(client, "remember_me"))
    wrong = await house.client().post("/login", json={"email": email, "password": PASSWORD})
    assert (wrong.status_code, wrong.json()) == (401, {"error": "Invalid email or password"})


async def test_a_removed_user_is_out_at_the_next_request(house: House) -> None:
    client, email = await house.user(remember=True)
    await house.operator("remove", email)
    await house.operator("add", email, "Alice", PASSWORD)
    assert not await is_in(client)
    assert await is_in(await house.log_in(email))


async def test_a_password_from_the_operator_ends_everything(house: House) -> None:
    client, email = await house.user(remember=True)
    await house.operator("set_password", email, OTHER)
    assert not await is_in(client)
    assert not await is_in(house.copy(client, "remember_me"))
    assert await is_in(await house.log_in(email, OTHER))


# -- one's own sessions --------------------------------------------------------------------------------------


async def sessions_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    answer = await client.get("/account/sessions")
    assert answer.status_code == 200
    listed: list[dict[str, Any]] = answer.json()["sessions"]
    return listed


async def test_own_sessions_are_listed(house: House) -> None:
    _, email = await house.user()
    fox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    other = house.client()
    other.headers["user-agent"] = fox
    await house.log_in(email, client=other)
    (here,) = [one for one in await sessions_of(other) if one["current"]]
    told = (await other.get("/account/sessions")).json()
    assert list(here) == ["handle", "browser", "created", "last_seen", "current"]
    assert here["browser"] == "Firefox on Linux"
    if house.backend in LISTABLE:
        assert len(told["sessions"]) == 3  # the registration's is one of them
        assert "note" not in told
    else:
        assert (len(told["sessions"]), "cannot list" in told["note"]) == (1, True)
    assert (await house.client().get("/account/sessions")).status_code == 401


async def test_ending_all_others(house: House) -> None:
    client, email = await house.user(remember=True)
    other = await house.log_in(email, remember=True)
    assert (await client.delete("/account/sessions")).status_code == 200
    assert [await is_in(one) for one in (client, other)] == [True, False]
    assert not await is_in(house.copy(other, "remember_me"))
    assert await is_in(house.copy(client, "remember_me"))
    other = await house.log_in(email)
    form = await client.post("/account/sessions/end-others", data={})
    assert (form.status_code, form.headers["location"]) == (303, "/dashboard")
    assert "All other sessions are ended" in (await client.get("/dashboard")).text
    assert [await is_in(one) for one in (client, other)] == [True, False]


async def test_ending_one(house: House) -> None:
    client, email = await house.user()
    other = await house.log_in(email, remember=True)
    stranger, _ = await house.user()
    (handle,) = [one["handle"] for one in await sessions_of(other) if one["current"]]
    assert (await stranger.delete(f"/account/sessions/{handle}")).status_code == 404
    assert (await stranger.post(f"/account/sessions/{handle}/end", data={})).status_code == 404
    assert await is_in(other)
    ended = await client.delete(f"/account/sessions/{handle}")
    if house.backend not in LISTABLE:
        assert ended.status_code == 404
        ended = await other.delete(f"/account/sessions/{handle}")  # its own it can end everywhere
    copy = house.copy(other, "remember_me")
    assert ended.status_code == 200
    assert [await is_in(one) for one in (client, other, copy)] == [True, False, False]
    assert (await client.delete(f"/account/sessions/{handle}")).status_code == 404
    assert (await client.delete("/account/sessions/nonsense")).status_code == 404


async def test_ending_this_one(house: House) -> None:
    client, _ = await house.user()
    (handle,) = [one["handle"] for one in await sessions_of(client) if one["current"]]
    copy = house.copy(client)
    form = await client.post(f"/account/sessions/{handle}/end", data={})
    assert (form.status_code, form.headers["location"]) == (303, "/login")
    assert [await is_in(one) for one in (client, copy)] == [False, False]


async def test_nobody_else_may(house: House) -> None:
    async with house.client() as guest:
        for method, path in [
            ("GET", "/account/sessions"),
            ("DELETE", "/account/sessions"),
            ("DELETE", f"/account/sessions/{'A' * 22}"),
            ("POST", "/account/password"),
            ("POST", "/account/sessions/end-others"),
            ("POST", f"/account/sessions/{'A' * 22}/end"),
        ]:
            answer = await guest.request(method, path, headers={"Accept": "application/json"})
            assert (answer.status_code, answer.json()) == (401, {"error": "Log in first"})
        for path in ("/account/password", "/account/sessions/end-others", "/account/sessions/x/end"):
            answer = await guest.post(path, data={"a": "b"})
            assert (answer.status_code, 'class="button" href="/login"' in answer.text) == (401, True)


# -- the profile ---------------------------------------------------------------------------------------------


async def test_the_profile_of_a_user(house: House) -> None:
    client, email = await house.user()
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
    assert await is_in(await house.log_in(new))
    for bad in ({"name": " "}, {"name": "a\0b"}, {"email": ""}, {"email": "x"}, {"name": "n" * 201}):
        assert (await client.post("/profile/update", json=bad)).status_code == 400


# -- remembered devices --------------------------------------------------------------------------------------


async def test_theft(house: House) -> None:
    client, email = await house.user(remember=True)
    other = await house.log_in(email, remember=True)
    thief, victim = house.copy(client, "remember_me"), house.copy(client, "remember_me")
    assert await is_in(thief)
    await house.age_tokens(60)
    assert not await is_in(victim)
    assert [await is_in(one) for one in (thief, client, other)] == [False, False, True]
    assert not await is_in(house.copy(thief, "remember_me"))
    assert "event=remember_me_theft" in log_of(house)


async def test_ten_requests_at_once_with_one_remember_me_cookie(house: House) -> None:
    client, _ = await house.user(remember=True)
    async with house.client() as guest:
        await guest.post("/api/cart/add", json=KEYBOARD)
        session = guest.cookies["cart_session"]
    for cookies in ({}, {"cart_session": session}):
        token = client.cookies["remember_me"]
        browsers = [house.client({"remember_me": token, **cookies}) for _ in range(10)]
        answers = await asyncio.gather(*(browser.get("/dashboard") for browser in browsers))
        assert [answer.status_code for answer in answers] == [200] * 10
        tokens = {browser.cookies["remember_me"] for browser in browsers} - {token}
        assert len(tokens) == 1
        client.cookies.set("remember_me", tokens.pop(), domain="127.0.0.1")
        begun = [
            browser for browser in browsers if browser.cookies.get("cart_session") not in (None, session)
        ]
        assert begun
        assert all([await is_in(house.copy(browser, "cart_session")) for browser in begun])


# -- guessing ------------------------------------------------------------------------------------------------


async def test_unknown_and_wrong_look_the_same(house: House) -> None:
    _, email = await house.user()
    answers = []
    for typed in (email, "nobody@example.com"):
        for form in ("json", "data"):
            async with house.client() as client:
                sent: Any = {form: {"email": typed, "password": "wrong"}}
                answer = await client.post("/login", **sent)
                headers = {name: answer.headers[name] for name in answer.headers if name not in ("date",)}
                text = answer.text.replace(typed, "…")
                headers["content-length"] = str(len(text))
                answers.append((answer.status_code, headers, text))
    assert answers[:2] == answers[2:]


async def test_ten_attempts_for_all_workers_together(house: House) -> None:
    _, email = await house.user()
    clients = [house.client() for _ in range(16)]
    wrong = {"email": email, "password": "wrong"}
    answers = await asyncio.gather(*(client.post("/login", json=wrong) for client in clients))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (10, 6), statuses
    limited = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(limited.headers["retry-after"]) <= 60  # about 6, and more for one that came late
    assert list(limited.json()) == ["error"]
    form = await clients[0].post("/login", data=wrong)
    assert (form.status_code, "retry-after" in form.headers, "Too many attempts" in form.text) == (
        429,
        True,
        True,
    )


# -- the log, after all of this ------------------------------------------------------------------------------


def log_of(house: House) -> str:
    return (house.shop.folder / "output.log").read_text(errors="replace")


def test_the_log_has_the_events_and_no_secret(house: House) -> None:
    if len(house.secrets) <= 50:
        unmet(
            "the whole file", "This looks at what the other tests of this file left in the log: run it whole."
        )
    log = log_of(house)
    for event in ("login_succeeded", "login_failed", "login_limited", "logged_out", "other_sessions_ended"):
        assert f"event={event}" in log
    for secret in house.secrets - {""}:
        for part in {secret, *secret.split(".")} - {""}:
            assert part not in log
