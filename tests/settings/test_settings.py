"""Settings: sources, valid values, error messages."""

import re
from ipaddress import ip_network
from pathlib import Path

import pytest
from dotenv import dotenv_values

from cartapp.settings import VARIABLES, Settings, SettingsError, load, masked_values
from cartapp.settings.types import OTHER_COOKIES, Rate
from tests.support.environment import settings_error

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
OTHER = SECRET[::-1]


pytestmark = pytest.mark.usefixtures("folder")


# -- sources ----------------------------------------------------------------------------------------------


def test_defaults_match_the_contract() -> None:
    found = load()
    assert (found.session_backend, found.session_ttl, found.session_max_age) == ("file", 3600, 604800)
    assert (found.session_pool_size, found.session_timeout, found.session_max_bytes) == (10, 2.0, 65536)
    assert (found.session_name, found.session_samesite, found.session_secure) == (
        "cart_session",
        "Lax",
        "auto",
    )
    assert (found.session_httponly, found.session_eager, found.session_encrypt) == (True, False, False)
    assert (found.session_sweep, found.metrics, found.catalog, found.registration) == (
        True,
        False,
        "open",
        "open",
    )
    assert (found.session_cookie_domain, found.session_cookie_path) == (None, "/")
    assert (found.database_url, found.login_limit) == ("sqlite+aiosqlite:///data/cart.db", Rate(10, "minute"))
    assert (found.env, found.log_level, found.production) == ("development", "INFO", False)
    assert (found.secret_key, found.secret_keys_old, found.trusted_proxies, found.trusted_origins) == (
        None,
        (),
        (),
        (),
    )
    assert found.notices == []


def test_precedence_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    def now(overrides: dict[str, str]) -> tuple[int, str]:
        found = load(overrides)
        return found.session_ttl, found.get_origin("CART_SESSION_TTL")

    assert now({}) == (3600, "default")
    Path(".env").write_text("CART_SESSION_TTL=1\n")
    assert now({}) == (1, ".env")
    Path(".env.local").write_text("export CART_SESSION_TTL='2'  # mine\n")
    assert now({}) == (2, ".env.local")
    monkeypatch.setenv("CART_SESSION_TTL", " 3 ")
    assert now({}) == (3, "environment")
    assert now({"CART_SESSION_TTL": "4"}) == (4, "command line")


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_value_counts_as_unset(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CART_SESSION_TTL=60\nCART_SESSION_URL=\n")
    monkeypatch.setenv("CART_SESSION_TTL", empty)
    assert load({"CART_SESSION_TTL": empty}).session_ttl == 60


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().session_ttl = 5  # type: ignore[misc]


def test_values_are_not_interpolated() -> None:
    Path(".env").write_text("CART_SESSION_BACKEND=redis\nCART_SESSION_PASSWORD='a${HOME}$b'\n")
    assert load().session_password == "a${HOME}$b"


def test_folder_named_env_is_ignored() -> None:
    Path(".env").mkdir()
    assert load() == Settings()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"CART_SESSION_TTL=60\nnonsense\n", ".env, line 2: expected NAME=value."),
        (b"CART_SESSION_NAME='open\n", ".env, line 1: expected NAME=value."),
        (b"CART_SESSION_NAME=\xff\n", ".env: expected UTF-8 text."),
    ],
)
def test_invalid_file_is_rejected(content: bytes, sentence: str) -> None:
    Path(".env").write_bytes(content)
    assert settings_error() == sentence


# -- values -----------------------------------------------------------------------------------------------

GOOD = [
    ("CART_SESSION_EAGER", "TRUE", True),
    ("CART_SESSION_EAGER", "1", True),
    ("CART_SESSION_HTTPONLY", "no", False),
    ("CART_SESSION_HTTPONLY", "0", False),
    ("CART_SESSION_SECURE", "Auto", "auto"),
    ("CART_SESSION_SECURE", "yes", True),
    ("CART_SESSION_SAMESITE", "strict", "Strict"),
    ("CART_SESSION_TTL", "315360000", 315360000),
    ("CART_SESSION_TIMEOUT", "0.25", 0.25),
    ("CART_SESSION_TIMEOUT", "5", 5.0),
    ("CART_SESSION_PORT", "65535", 65535),
    ("CART_SESSION_HOST", "store_1.example.org.", "store_1.example.org."),
    ("CART_SESSION_HOST", "fe80::1", "fe80::1"),
    ("CART_SESSION_COLLECTION", "shop.sessions", "shop.sessions"),
    ("CART_SESSION_COOKIE_DOMAIN", ".Shop.Example.org", "shop.example.org"),
    ("CART_SESSION_COOKIE_PATH", "/shop", "/shop"),
    ("CART_SESSION_URL", "redis+sentinel://a:1,b:2/main/0", "redis+sentinel://a:1,b:2/main/0"),
    ("CART_SESSION_URL", "memcached://h1:11211,h2:11211", "memcached://h1:11211,h2:11211"),
    ("CART_SESSION_URL", "mongodb+srv://u:p@h/db", "mongodb+srv://u:p@h/db"),
    ("CART_SECRET_KEY", SECRET, SECRET),
    ("CART_SECRET_KEYS_OLD", f"{SECRET}, {OTHER}", (SECRET, OTHER)),
    ("DATABASE_URL", "mssql+aioodbc://u:p@h/db", "mssql+aioodbc://u:p@h/db"),
    ("CART_TRUSTED_PROXIES", "10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
    (
        "CART_TRUSTED_ORIGINS",
        "https://Shop.example:443,http://[::1]:8080",
        ("https://shop.example", "http://[::1]:8080"),
    ),
    ("CART_LOGIN_LIMIT", "3/HOUR", Rate(3, "hour")),
    ("CART_ENV", "Production", "production"),
    ("CART_LOG_LEVEL", "debug", "DEBUG"),
]

BAD = [
    ("CART_SESSION_BACKEND", ["files", "redis,file", "sqlite"]),
    ("CART_SESSION_URL", ["redis", "http://host", "file:data", "redis:///a b", "redis://\x07"]),
    ("CART_SESSION_HOST", ["a b", "user@host", "host/path", "h?x", "localhost:6379", "a:b:c", "a..b", "."]),
    ("CART_SESSION_PORT", ["0", "65536", "-1", "http"]),
    ("CART_SESSION_PASSWORD", ["a\nb", "a\x00b", "\udcff"]),
    ("CART_SESSION_DATABASE", ["a/b", "a b"]),
    ("CART_SESSION_COLLECTION", ["a b", "$x", "..", "a..b", ".a", "system.users"]),
    ("CART_SESSION_PATH", ["a\x00b", "a\nb", "~no-such-user/x"]),
    ("CART_AUDIT_LOG", ["a\x00b", "a\tb", "~no-such-user/x"]),
    ("CART_SESSION_POOL_SIZE", ["0", "1.5", "1001", "１０", "1_0", "+1"]),
    ("CART_SESSION_TIMEOUT", ["0", "-1", "nan", "inf", "1e1", "301", "0.0", "2s"]),
    ("CART_SESSION_EAGER", ["on", "2", "truee"]),
    ("CART_SESSION_TTL", ["0", "-5", "1h", "3600.0", "99999999999999999999"]),
    ("CART_SESSION_MAX_AGE", ["0", "x"]),
    (
        "CART_SESSION_NAME",
        ["a b", "a;b", "a=b", "naïve", "__Host-x", "__secure-x", *OTHER_COOKIES],
    ),
    ("CART_SESSION_SAMESITE", ["Loose"]),
    ("CART_SESSION_HTTPONLY", ["maybe"]),
    ("CART_SESSION_SECURE", ["never"]),
    ("CART_SESSION_COOKIE_DOMAIN", ["a;b", "-a.org", "a..b", "http://a.org", "a" * 64, "x\n.org"]),
    ("CART_SESSION_COOKIE_PATH", ["shop", "/a;b", "/a b", "/\x7f"]),
    ("CART_SESSION_MAX_BYTES", ["63", "16777217"]),
    ("CART_SESSION_ENCRYPT", ["aes"]),
    ("CART_SESSION_SWEEP", ["hourly"]),
    (
        "CART_SECRET_KEY",
        ["short", "a" * 43, SECRET[:-1], SECRET + "x", SECRET[:-1] + "=", "0123456789abcde" * 3],
    ),
    ("CART_SECRET_KEYS_OLD", [f"{SECRET},short", f"{SECRET},,{OTHER}", f"{SECRET},"]),
    ("DATABASE_URL", ["data/cart.db", "oracle://h/db", "postgre://h/db"]),
    ("CART_CATALOG", ["shut"]),
    ("CART_REGISTRATION", ["true"]),
    ("CART_METRICS", ["prometheus"]),
    ("CART_DRAIN", ["-1", "301", "soon"]),
    ("CART_TRUSTED_PROXIES", ["*", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.1,"]),
    (
        "CART_TRUSTED_ORIGINS",
        ["*", "shop.example", "https://a/", "https://a/b", "ftp://a", "https://u@a", "https://a:x", "null"],
    ),
    ("CART_LOGIN_LIMIT", ["10", "0/minute", "10/week", "10001/day", "ten/minute", "10/minute/2"]),
    ("CART_ENV", ["staging"]),
    ("CART_LOG_LEVEL", ["LOUD"]),
]

NEVER_SHOWN = ("_URL", "_PASSWORD", "_KEY", "_KEYS_OLD")


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_valid_values(variable: str, text: str, value: object) -> None:
    field = next(field for field, name in VARIABLES.items() if name == variable)
    assert getattr(load({variable: text}), field) == value


@pytest.mark.parametrize(("variable", "text"), [(name, text) for name, texts in BAD for text in texts])
def test_invalid_values_are_rejected_by_name(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = settings_error(**{variable: text})
    assert sentence.startswith(f"{variable}: expected ")
    assert ("a folder path" in sentence) is (variable == "CART_SESSION_PATH")
    assert sentence.endswith("(from the command line).")
    assert sentence.isprintable()
    assert (repr(text) in sentence) is not variable.endswith(NEVER_SHOWN)


def test_every_setting_has_an_invalid_value_above() -> None:
    assert {name for name, _ in BAD} == set(VARIABLES.values())


def test_all_errors_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_SESION_TTL", "5")
    Path(".env.local").write_text("CART_SESSION_TTL=x\nCART_ENV=y\n")
    with pytest.raises(SettingsError) as refusal:
        load()
    assert refusal.value.messages == (
        "CART_SESION_TTL: unknown setting (from the environment). Did you mean CART_SESSION_TTL?",
        "CART_SESSION_TTL: expected a whole number from 1 to 315360000, got 'x' (from .env.local).",
        "CART_ENV: expected development or production, got 'y' (from .env.local).",
    )


def test_messages_and_repr_hold_no_secrets() -> None:
    given = {
        "CART_SECRET_KEY": SECRET,
        "CART_SECRET_KEYS_OLD": OTHER,
        "CART_SESSION_PASSWORD": "hush-hush",
        "DATABASE_URL": "postgresql+asyncpg://u:hush-hush@h/db",
    }
    found = load({**given, "CART_SESSION_URL": "redis://:hush-hush@h"})
    for text in (repr(found), str(found), str(masked_values(found))):
        assert not [secret for secret in (SECRET, OTHER, "hush-hush") if secret in text]
    assert SECRET not in settings_error(CART_SECRET_KEY=SECRET + "x")
    assert "hush-hush" not in settings_error(CART_SESSION_URL="http://:hush-hush@h")


def test_samesite_none_requires_secure() -> None:
    assert settings_error(CART_SESSION_SAMESITE="none") == (
        "CART_SESSION_SECURE: expected true with CART_SESSION_SAMESITE=None."
    )
    assert load({"CART_SESSION_SAMESITE": "none", "CART_SESSION_SECURE": "true"}).session_samesite == "None"


def test_unused_password_is_rejected() -> None:
    given = {"CART_SESSION_PASSWORD": "hush-hush", "CART_SESSION_BACKEND": "memcached"}
    assert settings_error(**given) == (
        "CART_SESSION_PASSWORD: not supported by the memcached backend, which uses no authentication."
    )


@pytest.mark.parametrize(
    ("url", "largest"),
    [
        ("file:///a", 1_000_000),
        ("memcached://a", 1_000_000),
        ("mongodb://a/b", 16_000_000),
        ("mysql://a/b", 8_000_000),
        ("mariadb+asyncmy://a/b", 8_000_000),
    ],
)
def test_max_bytes_is_limited_by_the_backend(url: str, largest: int) -> None:
    assert load({"CART_SESSION_URL": url, "CART_SESSION_MAX_BYTES": str(largest)})
    assert settings_error(CART_SESSION_URL=url, CART_SESSION_MAX_BYTES=str(largest + 1)) == (
        f"CART_SESSION_MAX_BYTES: expected at most {largest} for {re.split('[+:]', url)[0]}, "
        f"got {largest + 1}."
    )


# -- unknown names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [".env", ".env.local"])
def test_unknown_names_in_files_are_rejected(file: str) -> None:
    Path(file).write_text("OTHER=1\nCART_SESSION_COOKIE_NAM=x\n")
    assert settings_error().startswith(
        f"CART_SESSION_COOKIE_NAM: unknown setting (from {file}). Did you mean CART_SESSION_"
    )


def test_unknown_name_without_similar_names_gets_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_WHEELS", "4")
    assert settings_error() == "CART_WHEELS: unknown setting (from the environment)."


def test_test_variables_and_service_links_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    links = {
        "CART_SERVICE_HOST": "10.0.0.1",
        "CART_SERVICE_PORT": "80",
        "CART_SERVICE_PORT_HTTP": "80",
        "CART_PORT": "tcp://10.0.0.1:80",
        "CART_PORT_80_TCP": "tcp://10.0.0.1:80",
        "CART_PORT_80_TCP_PROTO": "tcp",
        "CART_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
    }
    for name, value in {**links, "CART_TEST_REDIS": "redis://localhost"}.items():
        monkeypatch.setenv(name, value)
    assert load().model_dump() == Settings().model_dump()
    monkeypatch.setenv("CART_PORT", "8000")
    assert settings_error().startswith("CART_PORT: unknown setting (from the environment)")


# -- .env -------------------------------------------------------------------------------------------------

SHIPPED = Path(__file__).parents[2] / ".env"


def test_env_file_names_every_setting_once() -> None:
    lines = SHIPPED.read_text().splitlines()
    named = [
        line.lstrip("#").partition("=")[0] for line in lines if "=" in line and not line.startswith("# ")
    ]
    assert sorted(named) == sorted(VARIABLES.values())


def test_env_file_holds_the_defaults_and_no_secret() -> None:
    values = dotenv_values(SHIPPED)
    defaults = masked_values(Settings())
    assert set(values) == {name for name, value in defaults.items() if value not in (None, [])}
    Path(".env").write_bytes(SHIPPED.read_bytes())
    found = load()
    assert found.model_dump() == Settings().model_dump()
    assert all(found.get_origin(name) == ".env" for name in values)
    assert found.notices == []


def test_env_file_documents_every_setting() -> None:
    described = False
    unexplained = []
    for line in SHIPPED.read_text().splitlines():
        if line.startswith("# ") or not line:
            described = line.startswith("# ")
        elif not described:
            unexplained.append(line)
    assert unexplained == [
        "CART_SESSION_NAME=cart_session",
    ]
