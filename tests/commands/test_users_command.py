"""`cart users`, `cart db` and `cart catalogue` on one database."""

import asyncio
import io
import shutil
import sys
from pathlib import Path

import pytest

from cartapp.accounts import InvalidCredentials, NewLogin
from cartapp.session.record import now
from tests.support.accounts import EMAIL, HERE, NAME, PASSWORD, AccountsEnvironment, open_database
from tests.support.commands import CartCommand, Result, run_cart
from tests.support.databases import DATABASES, SERVERS
from tests.support.environment import isolate, list_folder
from tests.support.schema import with_schema, without_schema
from tests.support.terminal import run_on_terminal, start_on_terminal

OTHER = "another phrase of mine"

on_every_engine = pytest.mark.parametrize("url", DATABASES, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database without users, by default of a SQLite file."""
    if not hasattr(request, "param"):
        return "sqlite:///data/cart.db"
    return with_schema(DATABASES[request.param](request))


@pytest.fixture
def cart(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CartCommand:
    isolate(tmp_path, monkeypatch)
    if url != "sqlite:///data/cart.db":
        monkeypatch.setenv("DATABASE_URL", url)
    made = CartCommand(monkeypatch, capsys)
    assert made("db", "upgrade").code == 0
    return made


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> "Given":
    return Given(monkeypatch)


class Given:
    """Set the standard input of the command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, data: bytes) -> None:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def add(cart: CartCommand, given: Given, email: str = EMAIL, password: bytes = PASSWORD.encode()) -> Result:
    given(password)
    return cart("users", "add", email, "--name", NAME, "--password-stdin")


def log_in(url: str, password: str = PASSWORD) -> NewLogin | None:
    async def attempt() -> NewLogin | None:
        async with open_database(url) as database:
            try:
                return await AccountsEnvironment(database, now).accounts.log_in(
                    EMAIL, password, client=HERE, remember=False
                )
            except InvalidCredentials:
                return None

    return asyncio.run(attempt())


def is_in(url: str, made: NewLogin) -> bool:
    async def ask() -> bool:
        async with open_database(url) as database:
            return await AccountsEnvironment(database, now).is_in(made)

    return asyncio.run(ask())


@on_every_engine
def test_users_add_and_list(cart: CartCommand, url: str, given: Given) -> None:
    assert (listed := cart("users", "list")).err == "No users.\n"
    assert listed.code == 0
    added = add(cart, given)
    assert (added.code, added.out, added.err) == (0, f"Added {EMAIL}.\n", "")
    listed = cart("users", "list")
    assert (EMAIL in listed.out, NAME in listed.out, PASSWORD in listed.out) == (True, True, False)
    (user,) = cart("users", "list", "--json").json
    assert list(user) == ["id", "email", "name", "disabled", "created"]
    assert (user["email"], user["name"], user["disabled"]) == (EMAIL, NAME, False)
    made = log_in(url)
    assert made is not None
    assert made.user.id == user["id"]


@on_every_engine
def test_users_add_without_a_name(cart: CartCommand, given: Given) -> None:
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
def test_password_is_used_as_given(
    cart: CartCommand, url: str, given: Given, typed: bytes, kept: str
) -> None:
    assert add(cart, given, password=typed).code == 0
    assert log_in(url, kept)
    assert log_in(url, kept + "!") is None


@pytest.mark.parametrize(
    ("email", "password", "code", "sentence"),
    [
        (EMAIL, b"short", 1, "The password must have at least 8 characters.\n"),
        *[
            (EMAIL, password, 1, "The password must not contain line breaks.\n")
            for password in (
                b"a long phrase\nof mine",
                b"a long phrase of mine\n\n",
                b"a long phrase\rof mine",
            )
        ],
        (EMAIL, b"password", 1, "This password is too common; choose another.\n"),
        (EMAIL, b"\xff\xfe 8 bytes", 2, "must be UTF-8 text"),
        ("alice", PASSWORD.encode(), 2, "email must be an email address"),
        ("", PASSWORD.encode(), 2, "email must be an email address"),
    ],
)
def test_users_add_rejects_invalid_input(
    cart: CartCommand, given: Given, email: str, password: bytes, code: int, sentence: str
) -> None:
    refused = add(cart, given, email, password)
    assert (refused.code, refused.out) == (code, "")
    assert sentence in refused.err.replace("\n│", "").replace("  ", " ")
    assert cart("users", "list", "--json").json == []


@on_every_engine
@pytest.mark.parametrize(
    "arguments",
    [
        ("users", "add", EMAIL, "--name", "Zo\udceb", "--password-stdin"),
        ("sessions", "list", "--user", "\udcff"),
        ("sessions", "purge", "--user", "\udcff@example.com", "--yes"),
    ],
)
def test_an_argument_that_is_not_utf8_is_refused(
    cart: CartCommand, given: Given, arguments: list[str]
) -> None:
    given(PASSWORD.encode())
    refused = cart(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "Invalid value" in refused.err


def test_users_add_rejects_a_taken_address(cart: CartCommand, given: Given) -> None:
    add(cart, given)
    again = add(cart, given, EMAIL.upper())
    assert (again.code, again.err) == (1, "An account with this email address already exists.\n")


@on_every_engine
def test_passwd_disable_enable_remove(cart: CartCommand, url: str, given: Given) -> None:
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
    "arguments", [["disable"], ["enable"], ["remove", "--yes"], ["passwd", "--password-stdin"]]
)
def test_unknown_user_is_one_message(cart: CartCommand, given: Given, arguments: list[str]) -> None:
    given(PASSWORD.encode())
    result = cart("users", *arguments, EMAIL)
    assert (result.code, result.out, result.err) == (1, "", f"There is no user {EMAIL}.\n")


def test_users_add_asks_for_the_password_without_echo(cart: CartCommand, url: str) -> None:
    with start_on_terminal("users", "add", EMAIL) as terminal:
        for password, repeated in ((PASSWORD, OTHER), (PASSWORD, PASSWORD)):
            terminal.wait_for("Password: ")  # the last space once echo is off
            terminal.press(f"{password}\n")
            terminal.wait_for("Repeat for confirmation: ")
            terminal.press(f"{repeated}\n")
        code, shown = terminal.finish()
    assert (code, "do not match" in shown, PASSWORD in shown) == (0, True, False)
    assert log_in(url)
    code, shown = run_on_terminal("users", "remove", EMAIL, typed="n\n")
    assert (code, "Nothing was changed" in shown) == (1, True)
    assert log_in(url)


def test_without_a_terminal_the_message_names_the_option(cart: CartCommand) -> None:
    for asking in (["users", "add", EMAIL], ["users", "passwd", EMAIL], ["users", "remove", EMAIL]):
        result = run_cart(*asking)
        assert (result.code, result.out) == (1, "")
        assert "--password-stdin" in result.err or "--yes" in result.err
    assert list_folder() == ["data"]


@on_every_engine
def test_db_current_and_upgrade(cart: CartCommand, url: str) -> None:
    without_schema(url)
    assert cart("db", "current").out == "Schema revision: none. Run `cart db upgrade` to reach 0002.\n"
    assert cart("db", "upgrade").out == "Schema revision: 0002.\n"
    assert cart("db", "current").out == "Schema revision: 0002 (latest).\n"
    assert cart("db", "current", "--json").json == {"revision": "0002", "newest": "0002"}
    again = cart("db", "upgrade")
    assert (again.code, again.out, again.err) == (0, "Schema revision: 0002.\n", "")


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_missing_schema_is_one_message(cart: CartCommand, url: str, given: Given) -> None:
    without_schema(url)
    for refused in (cart("users", "list"), add(cart, given)):
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.endswith("expected 0002. Run `cart db upgrade`.\n")
        assert len(refused.err.splitlines()) == 1


def test_unusable_database_is_one_message(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree("data")
    Path("data").write_text("a file where a folder should be")
    for command in (["users", "list"], ["db", "upgrade"], ["db", "current"]):
        result = cart(*command)
        assert (result.code, result.out, len(result.err.splitlines())) == (1, "", 1)
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    assert cart("users", "list").err.startswith("DATABASE_URL: ")


@on_every_engine
def test_catalogue_load(cart: CartCommand) -> None:
    Path("shop.csv").write_text(
        "id,name,price,description\n2,Hub,49.99,Seven ports\n1,Desk,100,\n", encoding="utf-8"
    )
    assert cart("catalogue", "load", "shop.csv").out == ("Loaded 2 products, removed 0.\n")
    Path("shop.json").write_text('[{"id": 2, "name": "Hub", "price": 49.99}]', encoding="utf-8")
    asked = cart("catalogue", "load", "shop.json")  # without a terminal
    assert (asked.code, asked.err.count("Add --yes")) == (1, 1)
    assert cart("catalogue", "load", "shop.csv").out == ("Loaded 2 products, removed 0.\n")
    assert cart("catalogue", "load", "shop.json", "--yes").out == "Loaded 1 products, removed 1.\n"
    Path("shop.txt").write_text("", encoding="utf-8")
    for file, sentence in [("shop.txt", "expected a .json or .csv file"), ("none.json", "No such file")]:
        result = cart("catalogue", "load", file)
        assert (result.code, sentence in result.err, len(result.err.splitlines())) == (1, True, 1)
