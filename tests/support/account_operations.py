"""Account operations: the initial visitor, the request, and a check of its response."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2 as httpx

from cartapp.accounts import InvalidCredentials
from tests.support.outages import ShopUnderTest
from tests.support.shop import KEYBOARD, browser

PASSWORD, NEW = "a long phrase of mine", "another phrase of mine"

_NOT_DONE = {
    "The session store cannot be reached at the moment",
    "The shop's database cannot be reached at the moment",
    "This session was ended or rotated by another request; this change was not saved",
}
"""Error messages that make no statement about accounts."""

_numbers = count()


@dataclass
class Person:
    """A visitor with their browser."""

    target: ShopUnderTest
    client: httpx.AsyncClient
    email: str = field(default_factory=lambda: f"user{next(_numbers)}@example.com")
    other: "Person | None" = None
    """The same user on another device."""
    copied: "Person | None" = None
    """A browser with the cookies before the operation."""

    @property
    def user(self) -> dict[str, str]:
        return {"name": "Alice", "email": self.email, "password": PASSWORD}

    async def post(self, path: str, fields: Any = None, method: str = "POST") -> httpx.Response:
        """Send a request as a JSON client."""
        return await self.client.request(method, path, json=fields or {})

    async def log_in(self, password: str = PASSWORD, **more: Any) -> httpx.Response:
        return await self.post("/login", {"email": self.email, "password": password, **more})

    def copy(self, *names: str) -> "Person":
        """Return another browser with the same cookies, or only those with these name endings."""
        client = browser(self.target.app)
        for cookie in self.client.cookies.jar:
            if not names or cookie.name.endswith(names):
                client.cookies.jar.set_cookie(cookie)
        return Person(self.target, client, self.email, self.other, self.copied)

    async def is_in(self) -> bool:
        return (await self.client.get("/dashboard")).status_code == 200

    async def items(self) -> int:
        return int((await self.client.get("/api/cart")).json()["item_count"])

    async def can_log_in(self, password: str, email: str | None = None) -> bool:
        """Whether a log-in with this password succeeds."""
        accounts = self.target.app.state.accounts
        try:
            await accounts.log_in(email or self.email, password, client="192.0.2.1", remember=False)
        except InvalidCredentials:
            return False
        return True


@dataclass(frozen=True)
class AccountOperation:
    """An operation; `check` verifies its response after an outage and completes the operation."""

    begin: Callable[[ShopUnderTest], Awaitable[Person]]
    act: Callable[[Person], Awaitable[httpx.Response]]
    check: Callable[[Person, httpx.Response], Awaitable[None]]


async def guest(target: ShopUnderTest) -> Person:
    """Return a visitor with a cart."""
    person = Person(target, browser(target.app))
    assert (await person.post("/api/cart/add", KEYBOARD)).status_code == 200
    return person


async def registered_guest(target: ShopUnderTest) -> Person:
    """Return a guest with an account, not logged in."""
    person = await guest(target)
    await target.app.state.accounts.register(person.email, "Alice", PASSWORD, client="192.0.2.1")
    return person


async def member(target: ShopUnderTest) -> Person:
    """Return a user logged in here, with a remember-me token, and on another device."""
    person = await registered_guest(target)
    assert (await person.log_in(remember_me=True)).status_code == 200
    person.other = Person(target, browser(target.app), person.email)
    assert (await person.other.log_in()).status_code == 200
    person.copied = person.copy()
    return person


async def member_with_second_account(target: ShopUnderTest) -> Person:
    """Return a logged-in user with a second account to log in to."""
    person = await member(target)
    await target.app.state.accounts.register(f"b-{person.email}", "Bob", PASSWORD, client="192.0.2.1")
    return person


def sentence(response: httpx.Response) -> str:
    """Return the error message of a 409 or 503 response; check its headers."""
    assert response.status_code in (409, 503), response.text
    assert response.headers.get("retry-after") == ("1" if response.status_code == 503 else None)
    return str(response.json()["error"])


def claim(response: httpx.Response) -> str:
    """Return a response's statement about accounts; empty for a general error."""
    text = sentence(response)
    return "" if text in _NOT_DONE else text.partition(": ")[0]


async def log_in(person: Person) -> httpx.Response:
    return await person.log_in(remember_me=True)


async def check_log_in(person: Person, response: httpx.Response) -> None:
    if response.status_code != 200:
        assert claim(response) in ("", "The login was not completed")
        assert not await person.is_in()
        assert (await person.log_in()).status_code == 200
    assert (await person.is_in(), await person.items()) == (True, 1)


async def check_log_in_again(person: Person, response: httpx.Response) -> None:
    if response.status_code != 200:
        assert claim(response) in ("", "The login was not completed")
        assert await person.is_in() or not person.target.is_definite
        assert (await person.log_in()).status_code == 200
    assert (await person.is_in(), await person.items()) == (True, 1)


async def log_in_as_another(person: Person) -> httpx.Response:
    return await person.post("/login", {"email": f"b-{person.email}", "password": PASSWORD})


async def check_log_in_as_another(person: Person, response: httpx.Response) -> None:
    if response.status_code != 200:
        assert claim(response) in ("", "The login was not completed")
        if person.target.is_definite:  # the previous log-in and its token still work
            assert (await person.is_in(), await person.items()) == (True, 1)
            assert await person.copy("remember_me").is_in()
        assert (await log_in_as_another(person)).status_code == 200
    assert "Bob" in (await person.client.get("/dashboard")).text
    assert await person.items() == 0


async def register(person: Person) -> httpx.Response:
    return await person.post("/register", person.user)


async def check_registration(person: Person, response: httpx.Response) -> None:
    if response.status_code != 201:
        created = {"The account was not created": False}
        created["The account was created, but the login was not completed"] = True
        claimed = claim(response)
        assert not claimed or await person.can_log_in(PASSWORD) == created[claimed]
        assert not await person.is_in()
        assert (await register(person)).status_code == 201
    assert (await person.is_in(), await person.items()) == (True, 1)


async def change_password(person: Person) -> httpx.Response:
    return await person.post("/account/password", {"current_password": PASSWORD, "new_password": NEW})


async def check_password(person: Person, response: httpx.Response) -> None:
    assert person.other is not None
    is_new = await person.can_log_in(NEW)
    assert await person.can_log_in(PASSWORD) != is_new
    assert await person.other.is_in() != is_new
    if response.status_code == 200:
        assert is_new
    else:
        claimed = claim(response)
        assert claimed in (
            "",
            "The password was not changed",
            "It is unknown whether the password was changed",
        )
        assert not is_new or claimed.startswith("It is unknown")
        if person.target.is_definite:
            assert (await person.is_in(), await person.items()) == (True, 1)
        assert (await person.log_in(NEW if is_new else PASSWORD)).status_code == 200
    assert (await person.is_in(), await person.items()) == (True, 1)


async def change_profile(person: Person) -> httpx.Response:
    fields = {"name": "Alice Miller", "email": f"new-{person.email}", "current_password": PASSWORD}
    return await person.post("/profile/update", fields)


async def check_profile(person: Person, response: httpx.Response) -> None:
    if response.status_code != 303:
        assert not claim(response)
        response = await change_profile(person)
    assert (response.status_code, await person.can_log_in(PASSWORD, f"new-{person.email}")) == (303, True)
    assert "Alice Miller" in (await person.client.get("/dashboard")).text
    assert await person.items() == 1


async def log_out(person: Person) -> httpx.Response:
    return await person.post("/logout")


async def check_log_out(person: Person, response: httpx.Response) -> None:
    if response.status_code != 200:
        assert not claim(response)
        assert (await log_out(person)).status_code == 200
    assert (await person.is_in(), await person.items()) == (False, 0)
    for copied in filter(None, [person.copied]):
        assert (await copied.is_in(), await copied.items()) == (False, 0)


async def clear(person: Person) -> httpx.Response:
    return await person.post("/api/session/clear")


async def check_clear(person: Person, response: httpx.Response) -> None:
    if response.status_code != 200:
        assert not claim(response)
        assert (await clear(person)).status_code == 200
    assert (await person.is_in(), await person.items()) == (False, 0)
    for copied in filter(None, [person.copied]):
        assert (await copied.is_in(), await copied.items()) == (False, 0)


async def end_others(person: Person) -> httpx.Response:
    return await person.post("/account/sessions", method="DELETE")


async def check_others(person: Person, response: httpx.Response) -> None:
    assert person.other is not None
    if response.status_code != 200:
        claimed = claim(response)
        assert claimed in (
            "",
            "All other devices were logged out, but other sessions on this device may remain",
        )
        assert not claimed or not await person.other.is_in()
        assert (await end_others(person)).status_code == 200
    assert not await person.other.is_in()
    assert (await person.is_in(), await person.items()) == (True, 1)


async def end_other(person: Person) -> httpx.Response:
    """End the other device's session by a handle read before the outage."""
    assert person.other is not None
    path = f"/account/sessions/{person.target.handles[person.other.email]}"
    return await person.post(path, method="DELETE")


async def member_with_session_list(target: ShopUnderTest) -> Person:
    """Return a user after reading the list of their sessions."""
    person = await member(target)
    assert person.other is not None
    listed = (await person.other.client.get("/account/sessions")).json()["sessions"]
    target.handles[person.email] = next(one["handle"] for one in listed if one["current"])
    return person


async def check_other(person: Person, response: httpx.Response) -> None:
    assert person.other is not None
    if response.status_code != 200:
        assert not claim(response)
        again = await end_other(person)
        assert again.status_code in (200, 404)  # the first request may have ended it
    assert not await person.other.is_in()
    assert (await person.is_in(), await person.items()) == (True, 1)


OPERATIONS = {
    "log-in": AccountOperation(registered_guest, log_in, check_log_in),
    "log-in-again": AccountOperation(member, log_in, check_log_in_again),
    "log-in-as-another": AccountOperation(
        member_with_second_account, log_in_as_another, check_log_in_as_another
    ),
    "register": AccountOperation(guest, register, check_registration),
    "password": AccountOperation(member, change_password, check_password),
    "profile": AccountOperation(member, change_profile, check_profile),
    "log-out": AccountOperation(member, log_out, check_log_out),
    "log-out-of-a-guest": AccountOperation(guest, log_out, check_log_out),
    "clear": AccountOperation(member, clear, check_clear),
    "clear-of-a-guest": AccountOperation(guest, clear, check_clear),
    "end-others": AccountOperation(member, end_others, check_others),
    "end-other": AccountOperation(member_with_session_list, end_other, check_other),
}
