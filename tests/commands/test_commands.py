"""The `cart` command: help, secrets, backends, settings, error messages."""

import io
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from cartapp.commands import app
from cartapp.session.stores import BACKENDS
from cartapp.settings import VARIABLES, load
from tests.support.commands import CLI, CartCommand, run_cart, start_cart
from tests.support.environment import clean_environment, list_folder
from tests.support.terminal import run_on_terminal, start_on_terminal

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


pytestmark = pytest.mark.usefixtures("folder")


# -- help -------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, object]]:
    """Yield every command and group with its full name."""
    waiting: list[tuple[str, object]] = [("cart", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command
        waiting += [(f"{name} {sub}", made) for sub, made in getattr(command, "commands", {}).items()]


COMMANDS = dict(commands())


def test_contract_commands_exist() -> None:
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
def test_help_is_printed(name: str, cart: CartCommand) -> None:
    shown = cart(*name.split()[1:], "--help")
    assert shown.code == 0
    assert f"Usage: {name} " in shown.out
    assert cart(*name.split()[1:], "-h") == shown


def test_version(cart: CartCommand) -> None:
    shown = cart("--version")
    assert (shown.code, shown.out, shown.err) == (0, f"cart {version('cartapp')}\n", "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("cart sess", ["sessions"]),
        ("cart sessions list --sort siz", ["size"]),
        ("cart backends use m", ["memory", "memcached", "mongodb"]),
        ("cart backends check va", ["valkey"]),
        ("cart backends copy file data", ["database"]),
    ],
)
def test_shell_completion(typed: str, completed: list[str]) -> None:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    shown = run_cart(_CART_COMPLETE="complete_bash", **words)
    assert (shown.code, sorted(shown.out.split())) == (0, sorted(completed)), shown.err


@pytest.mark.parametrize("args", [["--help"], ["sessions", "--help"], ["sessions", "purge", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from cartapp.commands import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
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
        ["serve", "--root-path", "shop/"],
        ["config", "x"],
    ],
)
def test_wrong_usage_is_status_2(args: list[str], cart: CartCommand) -> None:
    wrong = cart(*args)
    assert (wrong.code, wrong.out) == (2, "")
    assert "Usage: cart" in wrong.err


# -- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [["config"], ["sessions", "list"], ["backends", "check"], ["serve"]])
def test_invalid_settings_are_messages_on_standard_error(args: list[str], cart: CartCommand) -> None:
    Path(".env").write_text("CART_SESION_TTL=5\nCART_SESSION_TTL=x\n")
    wrong = cart(*args)
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.splitlines() == [
        "CART_SESION_TTL: unknown setting (from .env). Did you mean CART_SESSION_TTL?",
        "CART_SESSION_TTL: expected a whole number from 1 to 315360000, got 'x' (from .env).",
    ]


def test_unreachable_store_is_one_message(cart: CartCommand) -> None:
    Path("data").write_text("")
    for args in (["sessions", "list"], ["backends", "check"]):
        wrong = cart(*args)
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (1, "", 1)
        assert "data/sessions cannot be used" in wrong.err


@pytest.mark.parametrize(
    ("scheme", "title"),
    [
        ("mysql", "MySQL"),
        ("mysql+pymysql", "MySQL"),
        ("mariadb", "MariaDB"),
        ("mariadb+pymysql", "MariaDB"),
        ("firebird", "Firebird"),
    ],
)
def test_url_without_a_database_is_one_message_at_once(
    scheme: str, title: str, cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{scheme}://cart:hush-hush@127.0.0.1:1"  # nothing listens there
    sentence = (
        f"The {title} database's URL names no database: expected a path, as in "
        f"{scheme.partition('+')[0]}://localhost/shop."
    )
    for variable, commands in (
        ("CART_SESSION_URL", (["sessions", "list"], ["backends", "check"], ["serve"])),
        ("DATABASE_URL", (["db", "upgrade"], ["db", "current"], ["users", "list"], ["serve"])),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(variable, url)
            for args in commands:
                wrong = cart(*args)
                assert (wrong.code, wrong.out, wrong.err) == (1, "", f"{variable}: {sentence}\n"), args


def test_unreadable_file_is_one_message(cart: CartCommand) -> None:
    Path(".env").symlink_to("a" * 300)
    wrong = cart("config")
    assert (wrong.code, wrong.out, wrong.err) == (1, "", "File name too long: .env.\n")


def test_closed_pipe_prints_no_traceback() -> None:
    with start_cart("config") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert "Traceback" not in running.stderr.read()


# -- secret -----------------------------------------------------------------------------------------------


def test_secret_prints_a_secret_and_changes_nothing(cart: CartCommand) -> None:
    Path(".env").write_text("CART_SECRET_KEY=weak\n")  # works with invalid settings as well
    made = cart("secret")
    assert (made.code, made.err, list_folder()) == (0, "", [".env"])
    assert load({"CART_SECRET_KEY": made.out.strip()}).secret_key == made.out.strip()


def test_secret_write(cart: CartCommand) -> None:
    Path(".env.local").write_text("CART_SESSION_TTL=60\n")
    assert cart("secret", "--write").code == 0
    found = load()
    assert found.session_ttl == 60
    assert found.secret_key
    assert stat.S_IMODE(Path(".env.local").stat().st_mode) == 0o600


def test_secret_write_asks_before_replacing(cart: CartCommand) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    refused = cart("secret", "--write")
    assert (refused.code, refused.out) == (1, "")
    assert "logged out" in refused.err
    assert "--rotate" in refused.err
    assert load().secret_key == SECRET
    assert cart("secret", "--write", "--yes").code == 0
    assert load().secret_key != SECRET
    assert load().secret_keys_old == ()


def test_secret_rotate_keeps_the_former_secret(cart: CartCommand) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    rotated = cart("secret", "--rotate")
    assert rotated.code == 0
    assert "several replicas" in rotated.err
    assert load().secret_keys_old == (SECRET,)
    assert SECRET not in rotated.out + rotated.err
    assert str(load().secret_key) not in rotated.out + rotated.err


# -- config -----------------------------------------------------------------------------------------------


def test_config_shows_every_setting_and_its_source(
    cart: CartCommand, monkeypatch: pytest.MonkeyPatch
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


def test_backends_list_creates_no_files(cart: CartCommand) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=memory\nCART_SESSION_TIMEOUT=0.2\n")
    states = {state["name"]: state for state in cart("backends", "list", "--json").json}
    assert list(states) == [backend.name for backend in BACKENDS]
    assert (states["memory"]["used"], states["file"]["used"]) == (True, False)
    assert states["memory"]["milliseconds"] >= 0
    assert states["file"]["installed"] is True
    assert list_folder() == [".env"]
    lines = cart("backends", "list").out.splitlines()
    assert lines[0].split() == ["BACKEND", "DRIVER", "PING"]
    assert [line.split()[0] for line in lines[1:]] == list(states)


@pytest.mark.parametrize("backend", ["file", "database"])
@pytest.mark.parametrize(
    "args",
    [
        ["backends", "list"],
        ["backends", "check"],
        ["backends", "check", "file"],
        ["backends", "check", "database"],
        ["backends", "check", "sqlite:///no/such.db"],
        ["backends", "copy", "file", "redis://127.0.0.1:1"],
        ["sessions", "list"],
        ["sessions", "stats"],
        ["sessions", "show", "4hX2"],
        ["sessions", "watch"],
        ["sessions", "purge", "--expired"],
        ["users", "list"],
        ["db", "current"],
        ["config"],
    ],
)
def test_no_shop_is_created_by_reading(
    args: list[str], backend: str, cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_SESSION_BACKEND", backend)
    monkeypatch.setenv("CART_SESSION_TIMEOUT", "0.2")
    shown = cart(*args)
    assert list_folder() == []
    if args in (["backends", "list"], ["config"]):
        assert shown.code == 0
        return
    assert (shown.code, shown.out, shown.err.count("\n")) == (1, "", 1)
    assert " does not exist. Change to the folder of the shop" in shown.err


def test_backends_list_shows_a_missing_store(cart: CartCommand) -> None:
    (state,) = [one for one in cart("backends", "list", "--json").json if one["used"]]
    assert (state["name"], state["milliseconds"]) == ("file", None)
    assert "data/sessions does not exist. " in state["remark"]


def test_backends_list_shows_an_unreachable_backend(cart: CartCommand) -> None:
    Path("data").write_text("")
    Path(".env").write_text("CART_SESSION_TIMEOUT=0.2\n")
    listed = cart("backends", "list", "--json")
    assert listed.code == 0
    assert listed.json[0]["milliseconds"] is None
    assert "cannot be used" in listed.json[0]["remark"]


def test_backends_list_shows_invalid_settings(cart: CartCommand) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=redis\nCART_SESSION_PASSWORD=x\nCART_SESSION_TIMEOUT=0.2\n")
    states = {state["name"]: state for state in cart("backends", "list", "--json").json}
    assert "not supported by the memcached backend" in states["memcached"]["remark"]
    assert "CART_SESSION_URL=mongodb://" in states["mongodb"]["remark"]


@pytest.mark.parametrize("which", [[], ["file"], ["memory"], ["memory://"]])
def test_backends_check_leaves_no_record(which: list[str], cart: CartCommand) -> None:
    Path("data/sessions").mkdir(mode=0o700, parents=True)
    checked = cart("backends", "check", *which, "--json")
    assert checked.code == 0
    assert set(checked.json["milliseconds"]) == {"ping", "create", "load", "save", "touch", "delete"}
    assert not [path for path in Path().rglob("*") if path.is_file() and path.name != ".new"]
    assert " works." in cart("backends", "check", *which).out


def test_h11_urls_are_read_from_standard_input(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("memory://\n"))
    assert cart("backends", "check", "-", "--json").json["backend"] == "memory"
    Path("a").mkdir()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"file://{Path('a').resolve()}\nsqlite:///b.db\n"))
    assert cart("backends", "copy", "-", "-").out.startswith("Sessions: 0 copied")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    refused = cart("backends", "check", "-")
    assert refused.code == 2
    assert "Expected a backend name or a store URL on standard input" in " ".join(refused.err.split())


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        (
            "nosuch",
            "NAME: expected file, memory, cookie, redis, valkey, memcached, mongodb",
        ),
        ("http://u:hush-hush@h", "URL: expected a URL with one of the schemes file, memory, "),
        ("file://data", "URL: A file store's URL is file:/// and an absolute path."),
    ],
)
def test_unknown_backend_is_rejected(which: str, sentence: str, cart: CartCommand) -> None:
    refused = cart("backends", "check", which)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith(sentence)
    assert "hush-hush" not in refused.err


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:abc",
        "redis://h/0?x=1",
        "file://rel",
        "foo://x",
        "mariadb://localhost",
        "memory://x",
    ],
)
@pytest.mark.parametrize(
    ("args", "argument"),
    [
        (["backends", "check", "{url}"], "URL"),
        (["backends", "copy", "{url}", "file"], "FROM"),
        (["backends", "copy", "file", "{url}"], "TO"),
        (["serve", "--backend", "{url}"], "--backend"),
    ],
)
def test_an_argument_is_blamed_by_its_own_name(
    args: list[str], argument: str, url: str, cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_SESSION_URL", "redis://localhost")
    Path("data/sessions").mkdir(parents=True)
    refused = cart(*(arg.format(url=url) for arg in args))
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    if not (url == "memory://x" and args[1] == "copy"):  # neither FROM nor TO may be in memory
        assert refused.err.startswith(f"{argument}: ")
    assert "CART_SESSION" not in refused.err


@pytest.mark.parametrize(
    ("variable", "value", "args"),
    [
        ("CART_SESSION_URL", "redis://localhost:abc", ["sessions", "list"]),
        ("CART_SESSION_URL", "memory://", ["sessions", "list"]),
        ("CART_SESSION_URL", "memory://", ["serve", "--workers", "2"]),
        ("DATABASE_URL", "postgresql://localhost:70000/shop", ["sessions", "list"]),
        ("DATABASE_URL", "postgresql://localhost:70000/shop", ["backends", "check"]),
        ("DATABASE_URL", "sqlite:///missing.db", ["sessions", "list"]),
        ("CART_SESSION_BACKEND", "memory", ["sessions", "list"]),
        ("CART_SESSION_BACKEND", "memory", ["serve", "--workers", "2"]),
    ],
)
def test_a_store_is_blamed_on_the_variable_that_chose_it(
    variable: str, value: str, args: list[str], cart: CartCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CART_SESSION_BACKEND", "database")
    monkeypatch.setenv(variable, value)
    refused = cart(*args)
    assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert refused.err.startswith(f"{variable}: ")


def test_backends_use(cart: CartCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=file\n")
    assert cart("backends", "use", "memory").code == 0
    assert Path(".env.local").read_text() == "CART_SESSION_BACKEND=memory\n"
    assert load().backend == "memory"
    monkeypatch.setenv("CART_SESSION_URL", "memory://")
    chosen = cart("backends", "use", "file")
    assert (chosen.code, load().backend) == (0, "memory")
    assert "CART_SESSION_URL (from the environment) overrides" in chosen.err


def test_backends_use_rejects_an_unknown_backend(cart: CartCommand) -> None:
    refused = cart("backends", "use", "nosuch")
    assert (refused.code, list_folder()) == (1, [])
    assert refused.err.startswith("NAME: expected ")


# -- terminals --------------------------------------------------------------------------------------------


def test_colors_on_a_terminal_only() -> None:
    code, shown = run_on_terminal("config")
    assert (code, "\x1b[" in shown) == (0, True)
    code, shown = run_on_terminal("config", NO_COLOR="1")
    assert (code, "\x1b[3" in shown) == (0, False)
    piped = run_cart("config")
    assert (piped.code, "\x1b" in piped.out + piped.err) == (0, False)


def test_pipe_output_is_not_wrapped() -> None:
    Path(".env").write_text(f"CART_SESSION_PATH={'x' * 300}\n")
    assert any("x" * 300 in line for line in run_cart("config", COLUMNS="40").out.splitlines())


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize(
    ("command", "question"),
    [
        (["secret", "--write"], "[y/N]"),
        (["users", "remove", "ann@example.com"], "[y/N]"),
        (["users", "passwd", "ann@example.com"], "Password: "),
    ],
)
def test_an_interrupted_prompt_changes_nothing(
    command: list[str], question: str, number: signal.Signals, status: int
) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    with start_on_terminal(*command) as terminal:
        terminal.wait_for(question)
        terminal.process.send_signal(number)
        terminal.press("\n")  # Python misses a signal that comes just before it waits for a line
        code, shown = terminal.finish()
        assert terminal.has_echo()
    assert code == status
    assert "Nothing was changed." in shown
    assert "Traceback" not in shown
    assert load().secret_key == SECRET


def test_the_end_of_input_at_a_prompt_is_status_1() -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    with start_on_terminal("secret", "--write") as terminal:
        terminal.wait_for("[y/N]")
        terminal.press("\x04")
        assert terminal.finish()[0] == 1
    assert load().secret_key == SECRET


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_confirmation_decides(answer: str, code: int) -> None:
    Path(".env.local").write_text(f"CART_SECRET_KEY={SECRET}\n")
    assert run_on_terminal("secret", "--write", typed=answer)[0] == code
    assert (load().secret_key == SECRET) is (code == 1)


@pytest.mark.parametrize(("command", "closed"), [("config", ">&-"), ("users list", "2>&- <&-")])
def test_closed_streams_cause_no_traceback(folder: Path, command: str, closed: str) -> None:
    (folder / "data" / "sessions").mkdir(mode=0o700, parents=True)
    ended = subprocess.run(
        f'"{sys.executable}" "{CLI}" {command} {closed}',
        shell=True,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == (1 if command == "users list" else 0)
    assert "Traceback" not in ended.stderr
