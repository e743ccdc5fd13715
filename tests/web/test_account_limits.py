"""Responses beyond the limits of log-ins and registrations."""

from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any

import httpx2 as httpx
import pytest

from cartapp.accounts import network_from_host
from tests.support.accounts import fill_hashing_queue
from tests.support.shop import ALICE, browser, messages, running_app

pytestmark = pytest.mark.anyio

PAGE = {"Accept": "text/html"}
HERE = network_from_host("127.0.0.1")  # network of clients in this process
NEW = {"current_password": ALICE["password"], "new_password": "another phrase of mine"}
BUSY = "The server is busy checking passwords; try again in 1 second"


def user(number: int) -> dict[str, str]:
    return ALICE | {"email": f"user{number}@example.com"}


async def test_h4_limits_registrations_per_network() -> None:
    async with running_app(login_limit="1/minute") as app:
        responses = []
        for number in range(5):
            async with browser(app) as client:
                responses.append(await client.post("/register", json=user(number)))
        assert [response.status_code for response in responses] == [201] * 3 + [429] * 2
        assert responses[3].json() == {"error": "Too many attempts; try again in 20 seconds"}
        assert responses[3].headers["retry-after"] == "20"
        assert not responses[3].headers.get_list("set-cookie")
        async with browser(app, headers=PAGE) as client:
            page = await client.post("/register", data=user(5))
            assert (page.status_code, page.headers["retry-after"]) == (429, "20")
            assert "Too many attempts; try again in 20 seconds" in unescape(page.text)


async def test_h4_repeated_registration_logs_in_despite_limit() -> None:
    async with running_app(login_limit="1/minute") as app:
        for number in range(3):
            async with browser(app) as client:
                first = await client.post("/register", json=user(number))
        async with browser(app) as client:  # as if the first response and its cookie were lost
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
async def test_h4_full_hashing_queue_returns_503_and_changes_nothing(
    call: Callable[[httpx.AsyncClient], Awaitable[Any]],
) -> None:
    async with running_app() as app, browser(app) as client:
        assert (await client.post("/register", json=ALICE)).status_code == 201
        with fill_hashing_queue(app.state.accounts.hashing_queue, HERE):
            response = await call(client)
        assert (response.status_code, response.json()) == (503, {"error": BUSY})
        assert response.headers["retry-after"] == "1"
        assert (await client.get("/dashboard")).status_code == 200
        async with browser(app) as other:
            assert (await other.post("/login", json=ALICE)).status_code == 200
            assert (await other.post("/register", json=user(1))).status_code == 201


async def test_h4_full_hashing_queue_shows_the_form_again() -> None:
    headers = PAGE | {"Accept-Language": "de"}
    async with running_app() as app, browser(app, headers=headers) as client:
        with fill_hashing_queue(app.state.accounts.hashing_queue, HERE):
            responses = [await client.post(path, data=ALICE) for path in ("/login", "/register")]
    for response in responses:
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert messages(response) == [
            "Der Server prüft gerade zu viele Passwörter; der nächste Versuch ist möglich in: 1 Sekunde"
        ]
        assert ALICE["email"] in response.text
