"""External text cannot forge log lines, control a terminal or leave its JSON string."""

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
from cartapp.database.shop import ShopDatabase, create_shop_database
from cartapp.escapes import dump_json, escape_line, escape_lines
from cartapp.logs import logging_config
from cartapp.settings import Settings, load
from tests.server.test_serve import SECRET, served, stop
from tests.support.commands import CartCommand, make_session, store_sessions

FORGED = "2027-01-01 00:00:00,000 INFO     cartapp.security: event=login_succeeded user=admin"
CONTROLS = (
    *map(chr, range(0x20)),  # C0, with ESC and line ends
    *map(chr, range(0x7F, 0xA0)),  # DEL and C1, with NEL and CSI
    *("\u2028", "\u2029"),  # line and paragraph separator
    *("\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))),
    *("\u200b", "\ufeff", "\U000e0041", "\ud800"),
)
STORED = "".join(character for character in CONTROLS if character not in "\x00\ud800")
"""Control characters that a database and a session can store."""
EVIL = f"Eve\r\n{FORGED}{STORED}"


def assert_harmless(text: str, *, layout: str = "\n") -> None:
    """Check that the text contains only printable characters, except those in `layout`."""
    assert [c for c in text if not c.isprintable() and c not in layout] == []
    controls = ("Cc", "Cf", "Cs", "Zl", "Zp")
    assert not [
        character
        for character in text
        if unicodedata.category(character) in controls and character not in layout
    ]


def assert_records(log: str) -> None:
    """Check that every line begins with the time of a record, is indented below one, or is empty."""
    assert_harmless(log)
    for line in log.splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} |    |$", line), line
        assert not line.startswith(FORGED)


# -- the escape functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", CONTROLS, ids=ascii)
def test_control_characters_are_escaped(character: str) -> None:
    text = f"a{character}b"
    assert escape_line(text) == text.encode("unicode_escape").decode()
    assert escape_lines(f"{text}\n{text}").count("\n") == 1 + 2 * (character == "\n")
    for value in (text, {text: [text]}):
        for indent in (None, 2):
            shown = dump_json(value, indent=indent)
            assert_harmless(shown)
            assert json.loads(shown) == value
    assert "\n" not in dump_json({text: text})


def test_printable_text_is_unchanged() -> None:
    text = "Zoë, 東京 \N{SNOWMAN} שלום 🛒 \\n"
    assert escape_line(text) == text
    assert dump_json([text]) == '["Zoë, 東京 ☃ שלום 🛒 \\\\n"]'


# -- the log ----------------------------------------------------------------------------------------------


def format_record(settings: Settings) -> str:
    """Return a log record with external text in its message, arguments and exception."""
    options = dict(logging_config(settings)["formatters"]["line"])
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
    text: str = formatter.format(record)
    return text


def test_log_record_in_development() -> None:
    lines = format_record(Settings())
    assert_records(lines)
    assert "Traceback" in lines
    assert "\\x1b" in lines
    assert "Stack" in lines


def test_log_record_in_production() -> None:
    line = format_record(Settings(env="production"))
    assert_harmless(line, layout="")
    entry = json.loads(line)
    assert entry["message"] == f"{EVIL} {EVIL}"
    assert entry["event"] == EVIL
    assert EVIL in entry["exception"]


REQUESTS = [
    # A truncated body, and a path that looks like a log line.
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
def test_requests_cannot_forge_log_lines(production: bool) -> None:
    variables = {"CART_ENV": "production", "CART_SECRET_KEY": SECRET} if production else {}
    with served(CART_TRUSTED_PROXIES="127.0.0.1", **variables) as (running, client):
        send(client.base_url.port or 0, REQUESTS)
        login = {"email": EVIL, "password": EVIL}
        assert client.post("/login", json=login).status_code in (400, 401)
        _, log = stop(running)
    assert "the client disconnected before its body was complete" in log
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
        database: ShopDatabase = create_shop_database(load())
        await UserAdministration(database).add(EVIL, EVIL, "a long phrase of mine")
        await database.close()

    asyncio.run(add())


@pytest.mark.usefixtures("evil_user")
def test_user_name_and_address(cart: CartCommand) -> None:
    listed = cart("users", "list", "--json")
    assert_harmless(listed.out)
    assert (listed.json[0]["email"], listed.json[0]["name"]) == (EVIL.strip(), EVIL)
    table = cart("users", "list")
    assert_harmless(table.out)
    assert len(table.out.splitlines()) == 2
    for args in (["disable"], ["enable"], ["remove", "--yes"], ["remove", "--yes"]):
        printed = cart("users", *args, EVIL)
        assert_harmless(printed.out + printed.err)
        assert len((printed.out + printed.err).splitlines()) == 1


@pytest.mark.usefixtures("folder")
def test_session_data(cart: CartCommand) -> None:
    data = json.dumps({EVIL: [EVIL]}, ensure_ascii=False).encode()
    store_sessions([make_session("evil", user=EVIL, data=data)])
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
def test_product_name(cart: CartCommand) -> None:
    product = {"id": 1, "name": EVIL, "price": 1, EVIL: 1}
    for entries in ([product], [product | {"price": EVIL}], [{"name": EVIL}], EVIL):
        Path("products.json").write_text(json.dumps(entries))
        printed = cart("catalogue", "load", "products.json")
        assert_harmless(printed.out + printed.err)
        assert len((printed.out + printed.err).splitlines()) == 1
    named = Path("\x1b[31m\x85products.json")
    named.write_text("[]")
    assert_harmless(cart("catalogue", "load", str(named)).err)


@pytest.mark.usefixtures("folder")
def test_setting_values(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = EVIL.replace("=", ":").replace("\x00", "")
    without_c0 = "".join(c for c in evil if c not in "".join(map(chr, [*range(0x20), 0x7F])))
    monkeypatch.setenv("CART_SESSION_PATH", without_c0)  # the setting rejects C0 and DEL
    shown = cart("config", "--json")
    assert_harmless(shown.out + shown.err)
    assert shown.json["CART_SESSION_PATH"]["value"] == without_c0
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
def test_command_log(cart: CartCommand, caplog: pytest.LogCaptureFixture) -> None:
    assert cart("config").code == 0
    assert logging.lastResort is not None
    record = logging.LogRecord("cartapp", 30, __file__, 1, "%s", (EVIL,), None)
    assert_harmless(logging.lastResort.format(record), layout="")


def test_commands_print_through_one_place() -> None:
    for path in (Path(__file__).parents[2] / "cartapp" / "commands").glob("*.py"):
        text = path.read_text().replace(").print(", "")
        assert path.name == "output.py" or not re.search(r"typer\.echo|\bprint\(", text), path
