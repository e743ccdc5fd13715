"""What comes from outside writes no log line of its own, steers no terminal and stays in its JSON string."""

import asyncio
import json
import logging
import re
import socket
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import pytest

from cartapp.accounts import UserAdministration
from cartapp.escapes import json_text, printable, printable_lines
from cartapp.logs import configuration
from cartapp.schema import ShopDatabase, shop_database
from cartapp.settings import Settings, load
from tests.commands import Cart, session, store

from .test_serve import SECRET, served, stop

FORGED = "2027-01-01 00:00:00,000 INFO     cartapp.security: event=login_succeeded user=admin"
STEERING = (
    *map(chr, range(0x20)),  # C0, with ESC and the line ends
    *map(chr, range(0x7F, 0xA0)),  # DEL and C1, with NEL and CSI
    *("\u2028", "\u2029"),  # line and paragraph separator
    *("\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))),
    *("\u200b", "\ufeff", "\U000e0041", "\ud800"),
)
STORED = "".join(sign for sign in STEERING if sign not in "\x00\ud800")
"""What a database and a session can hold."""
EVIL = f"Eve\r\n{FORGED}{STORED}"


def assert_harmless(text: str, *, layout: str = "\n") -> None:
    """Nothing in it is more than a visible character, but for what lays it out."""
    assert [sign for sign in text if not sign.isprintable() and sign not in layout] == []
    controls = ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert not [sign for sign in text if unicodedata.category(sign) in controls and sign not in layout]


def assert_records(log: str) -> None:
    """Every line begins with the time of a record, is indented below one, or is empty."""
    assert_harmless(log)
    for line in log.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} |    |$", line), line
        assert not line.startswith(FORGED)


# -- the two functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", STEERING, ids=ascii)
def test_each_character(sign: str) -> None:
    text = f"a{sign}b"
    assert printable(text) == text.encode("unicode_escape").decode()
    assert printable_lines(f"{text}\n{text}").count("\n") == 1 + 2 * (sign == "\n")
    for value in (text, {text: [text]}):
        for indent in (None, 2):
            shown = json_text(value, indent=indent)
            assert_harmless(shown)
            assert json.loads(shown) == value
    assert "\n" not in json_text({text: text})


def test_what_people_write_stays_as_it_is() -> None:
    text = "Zoë, 東京 \N{SNOWMAN} שלום 🛒 \\n"
    assert printable(text) == text
    assert json_text([text]) == '["Zoë, 東京 ☃ שלום 🛒 \\\\n"]'


# -- the log ----------------------------------------------------------------------------------------------


def formatted(settings: Settings) -> str:
    """The lines of a record whose message, arguments and exception come from outside."""
    options = dict(configuration(settings)["formatters"]["line"])
    formatter = options.pop("()")(**options)
    try:
        try:
            raise ValueError(EVIL)
        except ValueError as error:
            raise RuntimeError(f"\r{EVIL}") from error
    except RuntimeError:
        record = logging.LogRecord("cartapp", 40, __file__, 1, f"%s {EVIL}", (EVIL,), sys.exc_info())
    record.fields = {"event": EVIL, EVIL: object()}
    record.stack_info = f"Stack\n{EVIL}"
    made: str = formatter.format(record)
    return made


def test_a_record_in_development() -> None:
    lines = formatted(Settings())
    assert_records(lines)
    assert "Traceback" in lines
    assert "\\x1b" in lines
    assert "Stack" in lines


def test_a_record_in_production() -> None:
    line = formatted(Settings(env="production"))
    assert_harmless(line, layout="")
    entry = json.loads(line)
    assert entry["message"] == f"{EVIL} {EVIL}"
    assert entry["event"] == EVIL
    assert EVIL in entry["exception"]


REQUESTS = [
    # A body that is cut off in the middle, with a path that is a line.
    f"DELETE /api/cart/x{quote(EVIL)} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
    f"GET /nope/{quote(EVIL)}?q={quote(EVIL)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    f"GET /static/{quote(EVIL)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
HEADERS = ("User-Agent", "X-Forwarded-For", "X-Forwarded-Proto", "Origin", "Host", "Cookie", "Referer")
REQUESTS += [
    f"POST /cart/clear HTTP/1.1\r\n{'' if name == 'Host' else 'Host: a'}\r\n".replace("\r\n\r\n", "\r\n")
    + f"{name}: https://\x85\x9b31m\x1b[31m{FORGED}\r\nOrigin: https://b\r\nConnection: close\r\n\r\n"
    for name in HEADERS
]


def send(port: int, requests: Iterable[str]) -> None:
    for request in requests:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request.encode("latin-1"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("production", [False, True])
def test_requests_forge_no_line_of_the_servers_log(production: bool) -> None:
    variables = {"CART_ENV": "production", "CART_SECRET_KEY": SECRET} if production else {}
    with served(CART_TRUSTED_PROXIES="127.0.0.1", **variables) as (running, client):
        send(client.base_url.port or 0, REQUESTS)
        login = {"email": EVIL, "password": EVIL}
        assert client.post("/login", json=login).status_code in (400, 401)
        _, log = stop(running)
    assert "the client went away amid its body" in log
    assert "x1b" in log or "u001b" in log
    if not production:
        assert_records(log)
        return
    assert_harmless(log)
    assert all({"time", "level", "logger", "message"} <= set(json.loads(line)) for line in log.splitlines())


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def evil_user(folder: Path) -> None:
    async def add() -> None:
        database: ShopDatabase = shop_database(load())
        await UserAdministration(database).add(EVIL, EVIL, "a long phrase of mine")
        await database.close()

    asyncio.run(add())


@pytest.mark.usefixtures("evil_user")
def test_a_users_name_and_address(cart: Cart) -> None:
    listed = cart("users", "list", "--json")
    assert_harmless(listed.out)
    assert (listed.json[0]["email"], listed.json[0]["name"]) == (EVIL.strip(), EVIL)
    table = cart("users", "list")
    assert_harmless(table.out)
    assert len(table.out.splitlines()) == 2
    for args in (["disable"], ["enable"], ["remove", "--yes"], ["remove", "--yes"]):
        said = cart("users", *args, EVIL)
        assert_harmless(said.out + said.err)
        assert len((said.out + said.err).splitlines()) == 1


@pytest.mark.usefixtures("folder")
def test_what_a_session_holds(cart: Cart) -> None:
    data = json.dumps({EVIL: [EVIL]}, ensure_ascii=False).encode()
    store([session("evil", user=EVIL, data=data)])
    shown = cart("sessions", "show", "evil", "--reveal", "--json")
    assert_harmless(shown.out)
    assert (shown.json["user"], shown.json["data"]) == (EVIL, {EVIL: [EVIL]})
    for args in (
        ["list"],
        ["list", "--json"],
        ["list", "--limit", "0"],
        ["list", "--limit", "0", "--json"],
        ["show", "evil", "--reveal"],
        ["watch", "--count", "1"],
        ["watch", "--count", "1", "--json"],
    ):
        shown = cart("sessions", *args)
        assert shown.code == 0
        assert_harmless(shown.out + shown.err, layout="\n\t")
        assert not [line for line in shown.out.splitlines() if line.startswith(FORGED)]


@pytest.mark.usefixtures("folder")
def test_a_products_name(cart: Cart) -> None:
    product = {"id": 1, "name": EVIL, "price": 1, EVIL: 1}
    for entries in ([product], [product | {"price": EVIL}], [{"name": EVIL}], EVIL):
        Path("products.json").write_text(json.dumps(entries))
        said = cart("catalogue", "load", "products.json")
        assert_harmless(said.out + said.err)
        assert len((said.out + said.err).splitlines()) == 1
    named = Path("\x1b[31m\x85products.json")
    named.write_text("[]")
    assert_harmless(cart("catalogue", "load", str(named)).err)


@pytest.mark.usefixtures("folder")
def test_the_values_of_settings(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = EVIL.replace("=", ":").replace("\x00", "")
    unseen = "".join(sign for sign in evil if sign not in "".join(map(chr, [*range(0x20), 0x7F])))
    monkeypatch.setenv("CART_SESSION_PATH", unseen)  # which takes all but C0 and DEL
    shown = cart("config", "--json")
    assert_harmless(shown.out + shown.err)
    assert shown.json["CART_SESSION_PATH"]["value"] == unseen
    table = cart("config")
    assert_harmless(table.out + table.err)
    assert not [line for line in table.out.splitlines() if line.startswith(FORGED)]
    monkeypatch.setenv("CART_SESSION_PATH", evil)
    monkeypatch.setenv(f"CART_{evil}", "x")
    wrong = cart("config")
    assert wrong.code == 1
    assert_harmless(wrong.out + wrong.err)
    assert len(wrong.err.splitlines()) == 2


@pytest.mark.usefixtures("folder")
def test_what_a_command_logs(cart: Cart, caplog: pytest.LogCaptureFixture) -> None:
    assert cart("config").code == 0
    assert logging.lastResort is not None
    record = logging.LogRecord("cartapp", 30, __file__, 1, "%s", (EVIL,), None)
    assert_harmless(logging.lastResort.format(record), layout="")


def test_commands_print_through_one_place() -> None:
    for path in (Path(__file__).parent.parent / "cartapp" / "commands").glob("*.py"):
        text = path.read_text().replace(").print(", "")
        assert path.name == "output.py" or not re.search(r"typer\.echo|\bprint\(", text), path
