"""`cart users`, `cart db` and `cart catalogue`, beside each other on one database."""

import asyncio
import io
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from cartapp.accounts import InvalidCredentials, LoggedIn
from cartapp.session.record import now

from .accounts import EMAIL, HERE, NAME, PASSWORD, House, opened
from .commands import CLI, PATIENCE, Cart, Result, environment, on_terminal, run
from .databases import DATABASES, SERVERS, with_schema, without_schema
from .surroundings import enter, names

OTHER = "another phrase of mine"

on_every_engine = pytest.mark.parametrize("url", DATABASES, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Of a database without users; of the default's file, where the test names no engine."""
    if not hasattr(request, "param"):
        return "sqlite:///data/cart.db"
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
def cart(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cart:
    enter(tmp_path, monkeypatch)
    if url != "sqlite:///data/cart.db":
        monkeypatch.setenv("DATABASE_URL", url)
    made = Cart(monkeypatch, capsys)
    assert made("db", "upgrade").code == 0
    return made


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> "Given":
    return Given(monkeypatch)


class Given:
    """Puts bytes on the command's standard input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, data: bytes) -> None:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def add(cart: Cart, given: Given, email: str = EMAIL, password: bytes = PASSWORD.encode()) -> Result:
    given(password)
    return cart("users", "add", email, "--name", NAME, "--password-stdin")


def log_in(url: str, password: str = PASSWORD) -> LoggedIn | None:
    async def attempt() -> LoggedIn | None:
        async with opened(url) as database:
            try:
                return await House(database, now).accounts.log_in(
                    EMAIL, password, client=HERE, remember=False
                )
            except InvalidCredentials:
                return None

    return asyncio.run(attempt())


def is_in(url: str, made: LoggedIn) -> bool:
    async def ask() -> bool:
        async with opened(url) as database:
            return await House(database, now).is_in(made)

    return asyncio.run(ask())


@on_every_engine
def test_a_user_is_added_and_listed(cart: Cart, url: str, given: Given) -> None:
    assert (listed := cart("users", "list")).err == "There is no user.\n"
    assert listed.code == 0
    added = add(cart, given)
    assert (added.code, added.out, added.err) == (0, f"{EMAIL} can log in now.\n", "")
    listed = cart("users", "list")
    assert (EMAIL in listed.out, NAME in listed.out, PASSWORD in listed.out) == (True, True, False)
    (user,) = cart("users", "list", "--json").json
    assert list(user) == ["id", "email", "name", "disabled", "created"]
    assert (user["email"], user["name"], user["disabled"]) == (EMAIL, NAME, False)
    made = log_in(url)
    assert made is not None
    assert made.user.id == user["id"]


@on_every_engine
def test_the_name_is_optional(cart: Cart, given: Given) -> None:
    given(PASSWORD.encode())
    assert cart("users", "add", "bob@example.com", "--password-stdin").code == 0
    assert cart("users", "list", "--json").json[0]["name"] == "bob"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (b"a long phrase of mine\n", "a long phrase of mine"),
        (b"a long phrase of mine\r\n", "a long phrase of mine"),
        (b"a long phrase of mine \n", "a long phrase of mine "),
        ("пароль моей жизни".encode(), "пароль моей жизни"),
    ],
)
def test_the_password_is_taken_as_it_comes(
    cart: Cart, url: str, given: Given, typed: bytes, kept: str
) -> None:
    assert add(cart, given, password=typed).code == 0
    assert log_in(url, kept)
    assert log_in(url, kept + "!") is None


@pytest.mark.parametrize(
    ("email", "password", "code", "sentence"),
    [
        (EMAIL, b"short", 1, "The password must have at least 8 characters.\n"),
        *[
            (EMAIL, password, 1, "The password must be one line: browsers send no line breaks.\n")
            for password in (
                b"a long phrase\nof mine",
                b"a long phrase of mine\n\n",
                b"a long phrase\rof mine",
            )
        ],
        (EMAIL, b"password", 1, "This password is one of the most common ones; choose another.\n"),
        (EMAIL, b"\xff\xfe 8 bytes", 2, "must be UTF-8 text"),
        ("alice", PASSWORD.encode(), 2, "email must be an e-mail address"),
        ("", PASSWORD.encode(), 2, "email must be an e-mail address"),
    ],
)
def test_what_is_refused(
    cart: Cart, given: Given, email: str, password: bytes, code: int, sentence: str
) -> None:
    refused = add(cart, given, email, password)
    assert (refused.code, refused.out) == (code, "")
    assert sentence in refused.err.replace("\n│", "").replace("  ", " ")
    assert cart("users", "list", "--json").json == []


@on_every_engine
def test_an_address_is_taken_once(cart: Cart, given: Given) -> None:
    add(cart, given)
    again = add(cart, given, EMAIL.upper())
    assert (again.code, again.err) == (1, "There is an account with this e-mail address already.\n")


@on_every_engine
def test_passwd_disable_enable_remove(cart: Cart, url: str, given: Given) -> None:
    add(cart, given)
    made = log_in(url)
    assert made is not None
    given(OTHER.encode())
    assert cart("users", "passwd", EMAIL, "--password-stdin").code == 0
    assert (is_in(url, made), log_in(url)) == (False, None)
    made = log_in(url, OTHER)
    assert made is not None
    assert cart("users", "disable", EMAIL).code == 0
    assert "disabled" in cart("users", "list").out
    assert (is_in(url, made), log_in(url, OTHER)) == (False, None)
    assert cart("users", "enable", EMAIL).code == 0
    assert log_in(url, OTHER)
    assert cart("users", "remove", EMAIL, "--yes").code == 0
    assert cart("users", "list", "--json").json == []
    assert log_in(url, OTHER) is None


@on_every_engine
@pytest.mark.parametrize(
    "deed", [["disable"], ["enable"], ["remove", "--yes"], ["passwd", "--password-stdin"]]
)
def test_a_user_who_is_not_there(cart: Cart, given: Given, deed: list[str]) -> None:
    given(PASSWORD.encode())
    result = cart("users", *deed, EMAIL)
    assert (result.code, result.out, result.err) == (1, "", f"There is no user {EMAIL}.\n")


def add_on_terminal(*passwords: str) -> tuple[int, str]:
    """`cart users add` on a terminal, each password typed when asked for; the status, and what is shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, str(CLI), "users", "add", EMAIL]
    adding = subprocess.Popen(command, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, waiting = b"", list(passwords)
    watchdog = Timer(PATIENCE, adding.kill)
    watchdog.start()
    while chunk := _read(ours):
        shown += chunk
        if waiting and shown.endswith(b": "):  # the blank comes when nothing is shown any more
            os.write(ours, waiting.pop(0).encode() + b"\n")
    watchdog.cancel()
    os.close(ours)
    return adding.wait(), shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # what Linux says when the other end is closed
        return b""


def test_it_asks_on_a_terminal_and_shows_nothing_of_the_password(cart: Cart, url: str) -> None:
    code, shown = add_on_terminal(PASSWORD, OTHER, PASSWORD, PASSWORD)
    assert (code, "do not match" in shown, PASSWORD in shown) == (0, True, False)
    assert log_in(url)
    code, shown = on_terminal("users", "remove", EMAIL, answer="n\n")
    assert (code, "Nothing was changed" in shown) == (1, True)
    assert log_in(url)


def test_without_a_terminal_it_says_how(cart: Cart) -> None:
    for asking in (["users", "add", EMAIL], ["users", "passwd", EMAIL], ["users", "remove", EMAIL]):
        result = run(*asking)
        assert (result.code, result.out) == (1, "")
        assert "--password-stdin" in result.err or "--yes" in result.err
    assert names() == ["data"]


@on_every_engine
def test_the_schema_is_shown_and_brought_up_to_date(cart: Cart, url: str) -> None:
    without_schema(url)
    assert (
        cart("db", "current").out == "The schema is at revision none; `cart db upgrade` brings it to 0001.\n"
    )
    assert cart("db", "upgrade").out == "The schema is at revision 0001.\n"
    assert cart("db", "current").out == "The schema is at revision 0001, the newest.\n"
    assert cart("db", "current", "--json").json == {"revision": "0001", "newest": "0001"}
    again = cart("db", "upgrade")
    assert (again.code, again.out, again.err) == (0, "The schema is at revision 0001.\n", "")


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_a_server_without_the_schema_is_one_sentence(cart: Cart, url: str, given: Given) -> None:
    without_schema(url)
    for refused in (cart("users", "list"), add(cart, given)):
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.endswith("must be at 0001: run `cart db upgrade`.\n")
        assert len(refused.err.splitlines()) == 1


def test_a_database_that_cannot_be_had_is_one_sentence(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree("data")
    Path("data").write_text("a file where a folder should be")
    for command in (["users", "list"], ["db", "upgrade"], ["db", "current"]):
        result = cart(*command)
        assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1)
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    assert cart("users", "list").err.startswith("DATABASE_URL cannot be used")


@on_every_engine
def test_a_catalogue_is_loaded(cart: Cart) -> None:
    Path("shop.csv").write_text(
        "id,name,price,description\n2,Hub,49.99,Seven ports\n1,Desk,100,\n", encoding="utf-8"
    )
    assert cart("catalogue", "load", "shop.csv").out == (
        "2 products are in the catalogue; 0 of the former ones are gone.\n"
    )
    Path("shop.json").write_text('[{"id": 2, "name": "Hub", "price": 49.99}]', encoding="utf-8")
    assert "1 of the former ones" in cart("catalogue", "load", "shop.json").out
    Path("shop.txt").write_text("", encoding="utf-8")
    for file, sentence in [("shop.txt", "must end with .json or .csv"), ("none.json", "No such file")]:
        result = cart("catalogue", "load", file)
        assert (result.code, sentence in result.err, len(result.err.splitlines())) == (1, True, 1)
