"""Limits of log-in and registration over HTTP: what a client gets beyond them."""

from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.accounts import network_of

from .accounts import occupied
from .shop import ALICE, browser, messages, started

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html"}
HERE = network_of("127.0.0.1")  # what the client of an application in this process comes from
NEW = {"current_password": ALICE["password"], "new_password": "another phrase of mine"}
BUSY = "Too many passwords are being checked at the moment; try again in 1 second"


def user(number: int) -> dict[str, str]:
    return ALICE | {"email": f"user{number}@example.com"}


async def test_h4_a_network_has_so_many_registrations_a_minute() -> None:
    async with started(login_limit="1/minute") as app:
        answers = []
        for number in range(5):
            async with browser(app) as client:
                answers.append(await client.post("/register", json=user(number)))
        assert [answer.status_code for answer in answers] == [201] * 3 + [429] * 2
        assert answers[3].json() == {"error": "Too many attempts; try again in 20 seconds"}
        assert answers[3].headers["retry-after"] == "20"
        assert not answers[3].headers.get_list("set-cookie")
        async with browser(app, headers=PAGE) as client:
            page = await client.post("/register", data=user(5))
            assert (page.status_code, page.headers["retry-after"]) == (429, "20")
            assert "Too many attempts; try again in 20 seconds" in unescape(page.text)


async def test_h4_a_browser_that_sends_the_last_registration_again_is_logged_in() -> None:
    async with started(login_limit="1/minute") as app:
        for number in range(3):
            async with browser(app) as client:
                first = await client.post("/register", json=user(number))
        async with browser(app) as client:  # its response was lost, and the cookie with it
            again = await client.post("/register", json=user(2))
            assert (again.status_code, again.json()) == (201, first.json())
            assert (await client.get("/dashboard")).status_code == 200
            assert (await client.post("/register", json=user(3))).status_code == 429


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.post("/login", json=ALICE),
        lambda client: client.post("/register", json=user(1)),
        lambda client: client.post("/account/password", json=NEW),
        lambda client: client.post("/profile/update", json=user(1) | NEW),
    ],
    ids=["login", "register", "password", "profile"],
)
async def test_h4_without_room_for_a_hash_it_is_503_and_nothing_changes(
    call: Callable[[httpx.AsyncClient], Awaitable[Any]],
) -> None:
    async with started() as app, browser(app) as client:
        assert (await client.post("/register", json=ALICE)).status_code == 201
        with occupied(app.state.accounts.turns, HERE):
            answer = await call(client)
        assert (answer.status_code, answer.json()) == (503, {"error": BUSY})
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/dashboard")).status_code == 200
        async with browser(app) as other:
            assert (await other.post("/login", json=ALICE)).status_code == 200
            assert (await other.post("/register", json=user(1))).status_code == 201


async def test_h4_without_room_the_form_is_shown_again() -> None:
    headers = PAGE | {"Accept-Language": "de"}
    async with started() as app, browser(app, headers=headers) as client:
        with occupied(app.state.accounts.turns, HERE):
            answers = [await client.post(path, data=ALICE) for path in ("/login", "/register")]
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert messages(answer) == [
            "Zurzeit werden zu viele Passwörter geprüft; der nächste Versuch ist möglich in: 1 Sekunde"
        ]
        assert ALICE["email"] in answer.text
