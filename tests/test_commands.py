"""The `cart` command: help, secrets, backends, settings, and what it says when something is wrong."""

import io
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cartapp.commands import app
from cartapp.settings import VARIABLES, load

from .commands import Cart, environment, on_terminal, process, run
from .surroundings import names

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


pytestmark = pytest.mark.usefixtures("folder")


# -- help -------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, object]]:
    """Every command and group, with its full name."""
    waiting: list[tuple[str, object]] = [("cart", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        waiting += [(f"{name} {sub}", made) for sub, made in getattr(command, "commands", {}).items()]


COMMANDS = dict(commands())


def test_the_commands_of_the_contract_are_there() -> None:
    assert {
        "cart serve",
        "cart sessions list",
        "cart sessions show",
        "cart sessions stats",
        "cart sessions watch",
        "cart sessions purge",
        "cart backends list",
        "cart backends check",
        "cart backends use",
        "cart secret",
        "cart config",
    } <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_parameter_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert getattr(command, "help", None)
    assert not [parameter.name for parameter in getattr(command, "params", []) if not parameter.help]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown(name: str, cart: Cart) -> None:
    shown = cart(*name.split()[1:], "--help")
    assert shown.code == 0
    assert f"Usage: {name} " in shown.out


@pytest.mark.parametrize("args", [["--help"], ["sessions", "--help"], ["sessions", "purge", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from cartapp.commands import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=True, env=environment()
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    assert not loaded & {"fastapi", "starlette", "sqlalchemy", "redis", "uvicorn", "msgspec", "asyncio"}


@pytest.mark.parametrize(
    "args",
    [
        ["nosuch"],
        ["serve", "--nosuch"],
        ["serve", "--port", "0"],
        ["serve", "--workers", "0"],
        ["config", "x"],
    ],
)
def test_wrong_usage_is_status_2(args: list[str], cart: Cart) -> None:
    wrong = cart(*args)
    assert (wrong.code, wrong.out) == (2, "")
    assert "Usage: cart" in wrong.err


# -- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["config"], ["sessions", "list"], ["backends", "check"], ["serve"]])
def test_wrong_settings_are_sentences_on_standard_error(args: list[str], cart: Cart) -> None:
    Path(".env").write_text("CART_SESION_TTL=5\nCART_SESSION_TTL=x\n")
    wrong = cart(*args)
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.splitlines() == [
        "CART_SESION_TTL (from .env) is no setting; did you mean CART_SESSION_TTL?",
        "CART_SESSION_TTL must be a whole number from 1 to 315360000, not 'x' (from .env).",
    ]


def test_a_store_out_of_reach_is_a_sentence(cart: Cart) -> None:
    Path("data").write_text("")
    for args in (["sessions", "list"], ["backends", "check"]):
        wrong = cart(*args)
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (1, "", 1)
        assert "data/sessions cannot be used" in wrong.err


def test_an_unreadable_file_is_a_sentence(cart: Cart) -> None:
    Path(".env").symlink_to("a" * 300)
    wrong = cart("config")
    assert (wrong.code, wrong.out, wrong.err) == (1, "", "File name too long: .env.\n")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    with process("config") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


# -- secret -----------------------------------------------------------------------------------------------


def test_a_secret_is_printed_and_nothing_else_done(cart: Cart) -> None:
    Path(".env").write_text("CART_SECRET_KEY=weak\n")  # also where the settings are refused
    made = cart("secret")
    assert (made.code, made.err, names()) == (0, "", [".env"])
    assert load({"CART_SECRET_KEY": made.out.strip()}).secret_key == made.out.strip()


def test_a_secret_is_written(cart: Cart) -> None:
    Path(".env.local").write_text("CART_SESSION_TTL=60\n")
    assert cart("secret", "--write").code == 0
    found = load()
    assert found.session_ttl == 60
    assert found.secret_key
    assert stat.S_IMODE(Path(".env.local").stat().st_mode) == 0o600


def test_a_secret_is_not_overwritten_unasked(cart: Cart) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    refused = cart("secret", "--write")
    assert (refused.code, refused.out) == (1, "")
    assert "logged out" in refused.err
    assert "--rotate" in refused.err
    assert load().secret_key == SECRET
    assert cart("secret", "--write", "--yes").code == 0
    assert load().secret_key != SECRET
    assert load().secret_keys_old == ()


def test_rotation_keeps_the_former_secret_and_explains_replicas(cart: Cart) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    rotated = cart("secret", "--rotate")
    assert rotated.code == 0
    assert "several replicas" in rotated.err
    assert load().secret_keys_old == (SECRET,)
    assert SECRET not in rotated.out + rotated.err
    assert str(load().secret_key) not in rotated.out + rotated.err


# -- config -----------------------------------------------------------------------------------------------


def test_config_shows_every_setting_and_where_it_came_from(
    cart: Cart, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".env").write_text("CART_SESSION_TTL=60\nCART_CATALOG=closed\n")
    Path(".env.local").write_text(f"CART_CATALOG=open\nCART_SECRET_KEY={SECRET}\n")
    monkeypatch.setenv("CART_METRICS", "yes")
    monkeypatch.setenv("CART_TRUSTED_PROXIES", "10.0.0.0/8,::1")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://u:hush-hush@h/db")
    as_json = cart("config", "--json")
    assert set(as_json.json) == set(VARIABLES.values())
    expected: dict[str, tuple[object, str]] = {
        "CART_SESSION_TTL": (60, ".env"),
        "CART_CATALOG": ("open", ".env.local"),
        "CART_METRICS": (True, "environment"),
        "CART_TRUSTED_PROXIES": (["10.0.0.0/8", "::1/128"], "environment"),
        "CART_SECRET_KEY": ("***", ".env.local"),
        "DATABASE_URL": ("postgresql+asyncpg://u:***@h/db", "environment"),
        "CART_LOGIN_LIMIT": ("10/minute", "default"),
        "CART_SESSION_URL": (None, "default"),
    }
    assert {name: (as_json.json[name]["value"], as_json.json[name]["from"]) for name in expected} == expected
    table = cart("config")
    lines = {line.split()[0]: line.split()[1:] for line in table.out.splitlines()}
    assert lines["CART_METRICS"] == ["true", "environment"]
    assert lines["CART_TRUSTED_PROXIES"] == ["10.0.0.0/8,::1/128", "environment"]
    assert lines["CART_SESSION_URL"] == ["-", "default"]
    assert set(lines) - {"SETTING"} == set(VARIABLES.values())
    assert "file:///" in table.err
    for shown in (as_json.out, table.out + table.err):
        assert SECRET not in shown
        assert "hush-hush" not in shown


# -- backends ---------------------------------------------------------------------------------------------


def test_backends_are_listed_and_nothing_is_made_for_those_not_used(cart: Cart) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=memory\nCART_SESSION_TIMEOUT=0.2\n")
    states = {state["name"]: state for state in cart("backends", "list", "--json").json}
    assert list(states)[:3] == ["file", "memory", "cookie"]
    assert len(states) == 8
    assert (states["memory"]["used"], states["file"]["used"]) == (True, False)
    assert states["memory"]["milliseconds"] >= 0
    assert (states["file"]["built"], states["file"]["installed"]) == (True, True)
    assert names() == [".env"]
    lines = cart("backends", "list").out.splitlines()
    assert lines[0].split() == ["BACKEND", "DRIVER", "PING"]
    assert [line.split()[0] for line in lines[1:]] == list(states)


def test_a_backend_out_of_reach_is_listed_as_such(cart: Cart) -> None:
    Path("data").write_text("")
    Path(".env").write_text("CART_SESSION_TIMEOUT=0.2\n")
    listed = cart("backends", "list", "--json")
    assert listed.code == 0
    assert listed.json[0]["milliseconds"] is None
    assert "cannot be used" in listed.json[0]["remark"]


def test_a_backend_that_the_settings_do_not_fit_is_listed_as_such(cart: Cart) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=redis\nCART_SESSION_PASSWORD=x\nCART_SESSION_TIMEOUT=0.2\n")
    states = {state["name"]: state for state in cart("backends", "list", "--json").json}
    assert "must not be set for memcached" in states["memcached"]["remark"]
    assert "CART_SESSION_URL must be mongodb://" in states["mongodb"]["remark"]


@pytest.mark.parametrize("which", [[], ["file"], ["memory"], ["memory://"]])
def test_a_round_trip_leaves_nothing_behind(which: list[str], cart: Cart) -> None:
    checked = cart("backends", "check", *which, "--json")
    assert checked.code == 0
    assert set(checked.json["milliseconds"]) == {"ping", "create", "load", "save", "touch", "delete"}
    assert not [path for path in Path().rglob("*") if path.is_file() and path.name != ".new"]
    assert " answers and keeps what it is given" in cart("backends", "check", *which).out


def test_h11_urls_with_passwords_come_on_standard_input(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("memory://\n"))
    assert cart("backends", "check", "-", "--json").json["backend"] == "memory"
    Path("a").mkdir()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"file://{Path('a').resolve()}\nsqlite:///b.db\n"))
    assert cart("backends", "copy", "-", "-").out.startswith("0 sessions copied")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused = cart("backends", "check", "-")
    assert refused.code == 2
    assert "stands for a line on standard input" in " ".join(refused.err.split())


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        (
            "nosuch",
            "CART_SESSION_BACKEND must be file, memory, cookie, redis, valkey, memcached, mongodb or ",
        ),
        ("http://u:hush-hush@h", "CART_SESSION_URL must be a URL that begins with one of file, memory, "),
        (
            "file://data",
            "CART_SESSION_URL cannot be used. A file store's URL is file:/// and an absolute path.",
        ),
    ],
)
def test_an_unknown_backend_is_refused(which: str, sentence: str, cart: Cart) -> None:
    refused = cart("backends", "check", which)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith(sentence)
    assert "hush-hush" not in refused.err


def test_a_backend_is_chosen(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=file\n")
    assert cart("backends", "use", "memory").code == 0
    assert Path(".env.local").read_text() == "CART_SESSION_BACKEND=memory\n"
    assert load().backend == "memory"
    monkeypatch.setenv("CART_SESSION_URL", "memory://")
    chosen = cart("backends", "use", "file")
    assert (chosen.code, load().backend) == (0, "memory")
    assert "CART_SESSION_URL (from the environment) is set, and stronger" in chosen.err


def test_a_backend_that_is_not_there_is_not_chosen(cart: Cart) -> None:
    refused = cart("backends", "use", "nosuch")
    assert (refused.code, names()) == (1, [])
    assert refused.err.startswith("CART_SESSION_BACKEND must be ")


# -- terminals --------------------------------------------------------------------------------------------


def test_colours_for_people_and_none_where_they_are_not_wanted() -> None:
    code, shown = on_terminal("config")
    assert (code, "\x1b[" in shown) == (0, True)
    code, shown = on_terminal("config", NO_COLOR="1")
    assert (code, "\x1b[3" in shown) == (0, False)
    piped = run("config")
    assert (piped.code, "\x1b" in piped.out + piped.err) == (0, False)


def test_nothing_is_wrapped_in_a_pipe() -> None:
    Path(".env").write_text(f"CART_SESSION_PATH={'x' * 300}\n")
    assert any("x" * 300 in line for line in run("config", COLUMNS="40").out.splitlines())


def test_an_interrupt_is_status_1_without_a_traceback() -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    code, shown = on_terminal("secret", "--write", interrupt_at="[y/N]")
    assert code == 1
    assert "Aborted" in shown
    assert "Traceback" not in shown
    assert load().secret_key == SECRET


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_the_answer_decides(answer: str, code: int) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    assert on_terminal("secret", "--write", answer=answer)[0] == code
    assert (load().secret_key == SECRET) is (code == 1)
