"""Normalization of e-mail addresses: all spellings are one account, similar addresses are not."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from cartapp.accounts.addresses import email_key, is_same, lookup_keys, normalize
from cartapp.accounts.tables import USERS
from cartapp.web.schemas.types import parse_email, parse_optional_email
from tests.support.commands import CartCommand
from tests.support.shop import browser, running_app

PASSWORD = "a long phrase of mine"
TYPED, IN_ASCII = "anna@bücher.example", "anna@xn--bcher-kva.example"
ANNA = {"name": "Anna", "email": TYPED, "password": PASSWORD}


@pytest.mark.parametrize(
    ("one", "spelling"),
    [
        ("Alice@Example.COM", "alice@example.com"),
        (" alice@example.com\n", "alice@example.com"),
        (TYPED, IN_ASCII),
        ("Anna@BÜCHER.example", IN_ASCII),
        ("anna@bu\u0308cher.example", IN_ASCII),
        ("ANNA@XN--BCHER-KVA.EXAMPLE", IN_ASCII),
        ("anna@bücher。example", IN_ASCII),
        ("anna@ｂücher.example", IN_ASCII),
        ("josé@example.com", "josé@example.com"),
        ("jose\u0301@example.com", "josé@example.com"),
        ("a@straße.de", "a@xn--strae-oqa.de"),
        ("a@ΒΌΛΟΣ.gr", "a@xn--nxasmq6b.gr"),
        ("a@💩.la", "a@xn--ls8h.la"),
        ("a@under_score.example", "a@under_score.example"),
        ("a@b@bücher.example", "a@b@xn--bcher-kva.example"),
        ("a@r3---ü.example", "a@" + f"xn--{'r3---ü'.encode('punycode').decode()}.example"),
        ("alice", "alice"),
        ("", ""),
    ],
)
def test_normal_form(one: str, spelling: str) -> None:
    assert normalize(one) == spelling
    assert normalize(spelling) == spelling
    assert email_key(one) == email_key(spelling) == sha256(spelling.encode()).hexdigest()
    assert is_same(one, spelling)


@pytest.mark.parametrize(
    "text",
    ["a@\ufffd.a", "a@xn--.example", "a@xn--\udcff", "a@" + "ü" * 5000, "a@xn--" + "z" * 5000, "@", "a@"],
)
def test_any_text_has_lookup_keys(text: str) -> None:
    assert email_key(text) in lookup_keys(text)
    assert not is_same(text, "alice@example.com")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jose@example.com", "josé@example.com"),
        ("a@bucher.example", "a@bücher.example"),
        ("a@strasse.de", "a@straße.de"),
        ("a.b@example.com", "ab@example.com"),
    ],
)
def test_different_addresses(one: str, other: str) -> None:
    assert not is_same(one, other)
    assert not set(lookup_keys(one)) & set(lookup_keys(other))


def test_lookup_keys_include_those_of_earlier_versions() -> None:
    typed, ascii_, key = (sha256(one.encode()).hexdigest() for one in (TYPED, IN_ASCII, IN_ASCII))
    assert lookup_keys(TYPED) == (typed, key)
    assert lookup_keys("Anna@BÜCHER.example") == (typed, key)
    assert lookup_keys(IN_ASCII) == (ascii_, typed)
    assert lookup_keys("Alice@Example.com") == (email_key("alice@example.com"),)


INVISIBLE = [
    *("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u061c", "\u202e", "\u2066", "\u180e"),
    *("\u034f", "\u115f", "\u3164", "\ufe0f", "\uffa0", "\U000e0020", "\U000e0100", "\x85", "\x9b", "\ud800"),
]


@pytest.mark.parametrize("sign", INVISIBLE, ids=ascii)
def test_invisible_characters_are_rejected(sign: str) -> None:
    for parse in (parse_email, parse_optional_email):
        for text in (f"alice{sign}@example.com", f"alice@exam{sign}ple.com", f"alice@example.com{sign}"):
            with pytest.raises(ValueError):
                parse(text)
        assert parse(TYPED) == TYPED


async def log_in(app: FastAPI, email: str, password: str = PASSWORD) -> httpx.Response:
    async with browser(app) as client:
        return await client.post("/login", json={"email": email, "password": password})


@pytest.mark.anyio
async def test_both_spellings_are_one_account() -> None:
    async with running_app() as app, browser(app) as client:
        assert (await client.post("/register", json=ANNA)).status_code == 201
        for email in (TYPED, IN_ASCII, "Anna@BU\u0308CHER.example"):
            assert (await log_in(app, email)).status_code == 200
            other = {"email": email, "password": "another long phrase of mine"}
            taken = await client.post("/register", json=ANNA | other)
            assert (taken.status_code, "already" in taken.json()["error"]) == (409, True)


@pytest.mark.anyio
@pytest.mark.parametrize(("kept", "sent"), [(TYPED, IN_ASCII), (IN_ASCII, TYPED), (TYPED, TYPED.upper())])
async def test_changing_the_spelling_requires_no_password(kept: str, sent: str) -> None:
    async with running_app(login_limit="1/day") as app, browser(app) as client:
        assert (await client.post("/register", json=ANNA | {"email": kept})).status_code == 201
        form: dict[str, Any] = {"name": "Anna Miller", "email": sent, "current_password": ""}
        for _ in range(3):  # counts no attempt
            answer = await client.post("/profile/update", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/profile")
        (row,) = await app.state.database.fetch(select(USERS.c.name, USERS.c.email))
        assert tuple(row) == ("Anna Miller", kept)
        other = await client.post("/profile/update", data=form | {"email": "anna@bucher.example"})
        assert other.status_code == 403
        assert "The current password is wrong" in other.text


@pytest.mark.anyio
async def test_two_earlier_accounts_of_one_address_still_work() -> None:
    async with running_app() as app, browser(app) as client:
        for email, key in ((TYPED, TYPED), (IN_ASCII, IN_ASCII)):
            await client.post("/register", json=ANNA | {"email": f"new-{email}", "name": email})
            values = {"email": email, "email_key": sha256(key.encode()).hexdigest()}
            change = update(USERS).where(USERS.c.name == email).values(**values)
            await app.state.database.run(lambda connection, change=change: connection.execute(change))
        for email in (TYPED, IN_ASCII):
            assert (await log_in(app, email)).json()["user"]["name"] == email
            other = {"email": email, "password": "another long phrase of mine"}
            taken = await client.post("/register", json=ANNA | other)
            assert taken.status_code == 409


@pytest.mark.anyio
async def test_all_spellings_share_one_rate_limit() -> None:
    async with running_app(login_limit="2/day") as app:
        answers = [await log_in(app, email, "wrong") for email in (TYPED, IN_ASCII, TYPED.upper())]
        assert [answer.status_code for answer in answers] == [401, 401, 429]


def test_command_finds_both_spellings(
    cart: CartCommand, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def add() -> None:
        async with running_app(database_url="sqlite:///data/cart.db") as app, browser(app) as client:
            assert (await client.post("/register", json=ANNA)).status_code == 201

    (folder / "data").mkdir()
    anyio.run(add)
    assert cart("users", "disable", IN_ASCII).code == 0
    assert [user["disabled"] for user in cart("users", "list", "--json").json] == [True]
    assert cart("users", "enable", TYPED).code == 0
    assert cart("users", "remove", "--yes", "Anna@XN--BCHER-KVA.example").code == 0
    assert cart("users", "list", "--json").json == []
