"""Selection of the session store, and the first start."""

import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cartapp.bootstrap import prepare
from cartapp.session.crypto import new_secret
from cartapp.session.errors import InvalidStoreURL, MissingDriver
from cartapp.session.stores import registry
from cartapp.settings import SettingsError, check_workers, env_files, export_overrides, load, masked_url
from cartapp.settings.env_local import ensure_secret, replace_secret, use_backend
from cartapp.stores import create_store
from tests.support.environment import list_folder, settings_error
from tests.support.servers.process import free_port

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"


pytestmark = pytest.mark.usefixtures("folder")


# -- the session store ------------------------------------------------------------------------------------

URL, BACKEND = "CART_SESSION_URL", "CART_SESSION_BACKEND"


@pytest.mark.parametrize(
    ("sources", "backend"),
    [
        ({".env": {URL: "redis://h"}}, "redis"),
        ({".env": {URL: "redis://h", BACKEND: "memory"}}, "redis"),
        ({".env": {BACKEND: "memory"}, ".env.local": {URL: "redis://h"}}, "redis"),
        ({".env": {URL: "redis://h"}, ".env.local": {BACKEND: "memory"}}, "memory"),
        ({".env.local": {URL: "redis://h", BACKEND: "memory"}}, "redis"),
        ({".env.local": {URL: "redis://h"}, "environment": {BACKEND: "memory"}}, "memory"),
        ({"environment": {URL: "redis://h", BACKEND: "memory"}}, "redis"),
        ({"environment": {URL: "redis://h"}, "command line": {BACKEND: "memory"}}, "memory"),
        ({"environment": {BACKEND: "memory"}, "command line": {URL: "valkey+cluster://h"}}, "valkey"),
        ({".env": {URL: "sqlite:///x.db"}}, "database"),
    ],
)
def test_precedence_of_url_and_backend(
    sources: dict[str, dict[str, str]], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in (".env", ".env.local"):
        Path(file).write_text("".join(f"{name}={value}\n" for name, value in sources.get(file, {}).items()))
        Path(file).chmod(0o600)
    for name, value in sources.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    found = load(sources.get("command line"))
    assert found.backend == backend
    overruled = backend == "memory"
    assert bool(found.notices) is overruled
    assert (found.session_url is None) is overruled


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o400, 0), (0o644, 1), (0o620, 1), (0o602, 1)])
def test_h11_readable_secrets_file_gives_a_notice(mode: int, count: int) -> None:
    Path(".env.local").write_text("CART_LOG_LEVEL=INFO\n")
    Path(".env.local").chmod(mode)
    assert len(load().notices) == count
    assert all("chmod 600 .env.local" in notice for notice in load().notices)


def test_overridden_url_gives_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "redis://h")
    assert load({BACKEND: "file"}).notices == [
        "CART_SESSION_URL (from the environment) is ignored: "
        "CART_SESSION_BACKEND (from the command line) takes precedence."
    ]


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({}, "file://{cwd}/data/sessions"),
        ({"PATH": "a b/ü"}, "file://{cwd}/a%20b/%C3%BC"),
        ({"PATH": "/var/lib/cart"}, "file:///var/lib/cart"),
        ({"BACKEND": "memory"}, "memory://"),
        ({"BACKEND": "cookie"}, "cookie://"),
        ({"BACKEND": "redis"}, "redis://localhost:6379/0"),
        (
            {"BACKEND": "redis", "HOST": "r", "PORT": "6380", "PASSWORD": "p@/: w", "DATABASE": "3"},
            "redis://:p%40%2F%3A%20w@r:6380/3",
        ),
        ({"BACKEND": "valkey", "HOST": "::1"}, "valkey://[::1]:6379/0"),
        ({"BACKEND": "memcached", "HOST": "m"}, "memcached://m:11211"),
        ({"BACKEND": "mongodb"}, "mongodb://localhost:27017/cart?collection=sessions"),
        (
            {"BACKEND": "mongodb", "DATABASE": "myapp", "COLLECTION": "s"},
            "mongodb://localhost:27017/myapp?collection=s",
        ),
        ({"BACKEND": "database"}, "sqlite+aiosqlite:///data/cart.db"),
        ({"URL": "rediss://h", "HOST": "other", "PATH": "other"}, "rediss://h"),
    ],
)
def test_store_url_is_built_from_parts(parts: dict[str, str], url: str, folder: Path) -> None:
    found = load({f"CART_SESSION_{name}": value for name, value in parts.items()})
    assert found.store_url == url.format(cwd=folder)


def test_invalid_parts_for_the_backend() -> None:
    assert settings_error(CART_SESSION_BACKEND="redis", CART_SESSION_DATABASE="myapp") == (
        "CART_SESSION_DATABASE: expected a number for redis, got 'myapp'."
    )
    assert settings_error(CART_SESSION_BACKEND="mongodb", CART_SESSION_PASSWORD="x").startswith(
        "CART_SESSION_PASSWORD: "
    )
    assert load({"CART_SESSION_DATABASE": "myapp", "CART_SESSION_PASSWORD": "x"}).backend == "file"


def test_memory_requires_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in ((BACKEND, "memory"), (URL, "memory://")):
        found = load({variable: value})
        check_workers(found, 1)
        with pytest.raises(SettingsError, match=f"{variable}: memory works in one process"):
            check_workers(found, 2)
    check_workers(load(), 8)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            {URL: "file://data/sessions"},
            "CART_SESSION_URL: A file store's URL is file:/// and an ",
        ),
        (
            {URL: "memory:///x"},
            "CART_SESSION_URL: A memory store's URL is memory:// with nothing ",
        ),
        (
            {URL: "file+x:///data"},
            "CART_SESSION_URL: No session store for file+x; expected one of ",
        ),
    ],
)
def test_invalid_store_url_names_its_variable(choice: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        create_store(load(choice))
    assert str(refusal.value).startswith(sentence)
    assert len(refusal.value.messages) == 1


def test_missing_driver_error_has_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    driverless = replace(registry.BACKENDS[0], driver="no_such_driver", packages=("files[fast]", "more"))
    monkeypatch.setattr(registry, "BACKENDS", (driverless,))
    with pytest.raises(MissingDriver, match=r"pip install 'files\[fast\]' more$"):
        registry.open_store("file:///tmp")
    with pytest.raises(SettingsError, match=r"^CART_SESSION_BACKEND: .* pip install 'files"):
        create_store(load({BACKEND: "file"}))


@pytest.mark.parametrize(
    "url",
    ["", "data/sessions", "file:relative", "http://[::1", "nosuch://h", "file:///a?b=1", "file:///a%00b"],
)
def test_invalid_store_urls(url: str) -> None:
    with pytest.raises(InvalidStoreURL):
        registry.open_store(url)


@pytest.mark.parametrize("url", ["file:///tmp/a%20b", "file://localhost/tmp/x", "memory://"])
def test_valid_store_urls(url: str) -> None:
    assert registry.open_store(url).name == url.partition(":")[0]


def test_command_line_settings_reach_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "redis://h")
    export_overrides({BACKEND: "memory"})
    try:
        assert load().backend == "memory"
    finally:
        del os.environ[BACKEND]


def test_max_age_below_ttl_gives_a_notice() -> None:
    assert load({"CART_SESSION_MAX_AGE": "60"}).notices == [
        "CART_SESSION_MAX_AGE (60) is below CART_SESSION_TTL (3600): no session reaches its TTL."
    ]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://:secret@h:6379/0", "redis://:***@h:6379/0"),
        ("mongodb://u:se@cr/et@h/db?x=1", "mongodb://u:***@h/db?x=1"),
        ("redis://h/0?password=secret&db=1", "redis://h/0?password=***&db=1"),
        ("mssql+pyodbc://?odbc_connect=PWD%3Dsecret", "mssql+pyodbc://?odbc_connect=***"),
        ("sqlite:///data/a@b.db", "sqlite:///data/a@b.db"),
        (
            "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:secret,a:b&tls=true",
            "mongodb://h/?authMechanismProperties=***&tls=true",
        ),
        ("redis://h/0?%70assword=secret", "redis://h/0?%70assword=***"),
        ("mysql://h/d?ssl_key_password=&SSL_KEY=secret", "mysql://h/d?ssl_key_password=&SSL_KEY=***"),
        ("redis://h/0?username=u&ssl_keyfile=k#x", "redis://h/0?username=u&ssl_keyfile=***#***"),
        ("postgresql://cart@srv:secret@h:1/d", "postgresql://cart@srv:***@h:1/d"),
        ("redis://u/x:secret@h", "redis://u/x:***@h"),
        ("redis://u%3asecret@h", "redis://u%3a***@h"),
        ("redis://u:se?cr&et@h", "redis://u:***"),
        ("redis://u:se#cret@h", "redis://u:***@h"),
        ("redis://h:1/0?password=se@cret", "redis://h:***"),
        ("redis://h/0?password=se&cret", "redis://h/0?password=***&***"),
        ("redis://h/0?a=b?password=secret", "redis://h/0?a=***"),
        ("redis://h/0#password=secret", "redis://h/0#***"),
        (
            "mongodb://h/d?appName=x;authMechanismProperties=AWS_SESSION_TOKEN:secret&tls=true",
            "mongodb://h/d?appName=x;authMechanismProperties=***&tls=true",
        ),
        ("postgresql://h/d?options=-c%20password%3Dsecret", "postgresql://h/d?options=***"),
        ("redis://h/0?%2570assword=secret", "redis://h/0?%2570assword=***"),
        ("mssql:///Driver=x;PWD=secret", "mssql:///Driver***"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert masked_url(url) == masked


# -- .env.local -------------------------------------------------------------------------------------------


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_write_keeps_other_lines() -> None:
    local = Path(".env.local")
    local.write_text("# mine\nexport A='x'  # why\n\nB=1\nB=2\nC=last")
    local.chmod(0o644)
    env_files.write(local, {"B": "3", "D": "4"})
    assert local.read_text() == "# mine\nexport A='x'  # why\n\nB=3\nC=last\nD=4\n"
    assert mode(local) == 0o600
    assert list_folder() == [".env.local"]


def test_write_keeps_a_symbolic_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    Path(".env.local").symlink_to("elsewhere/secrets")
    env_files.write(Path(".env.local"), {"A": "1"})
    assert Path(".env.local").is_symlink()
    assert Path("elsewhere/secrets").read_text() == "A=1\n"


def test_failed_write_leaves_no_file() -> None:
    Path(".env.local").mkdir()
    with pytest.raises(OSError, match="directory"):
        env_files.write(Path(".env.local"), {"A": "1"})
    assert list_folder() == [".env.local"]


def test_first_start_creates_folder_and_secret_once() -> None:
    first, made = prepare(load())
    assert made == [
        "Created a secret key in .env.local.",
        "Created the session folder data/sessions.",
        "Created the database data/cart.db.",
    ]
    assert (mode("data"), mode("data/sessions"), mode(".env.local")) == (0o700, 0o700, 0o600)
    second, made = prepare(load())
    assert made == []
    assert first.secret_key is not None
    assert first.secret_key == second.secret_key == load().secret_key


def test_start_is_refused_without_a_usable_folder() -> None:
    Path("data").write_text("")
    with pytest.raises(SettingsError, match=r"^CART_SESSION_PATH: "):
        prepare(load())
    with pytest.raises(SettingsError, match=r"^CART_SESSION_URL: "):
        prepare(load({URL: Path("data").absolute().as_uri()}))


def test_start_is_refused_when_the_driver_rejects_the_url() -> None:
    url = f"postgresql://me:unspoken@127.0.0.1:{free_port()}/shop"
    for variable in ("DATABASE_URL", URL):
        with pytest.raises(SettingsError) as refusal:
            prepare(load({variable: f"{url}?nosuch=1"}))
        assert str(refusal.value) == (
            f"{variable}: The PostgreSQL driver cannot take the database's URL: "
            "connect() got an unexpected keyword argument 'nosuch'."
        )
    prepare(load({URL: url}))  # an unreachable server is no error


def test_unwritable_env_local_asks_for_the_variable() -> None:
    Path(".env.local").mkdir()
    with pytest.raises(
        SettingsError, match=r"^Cannot write .env.local: .* Set CART_SECRET_KEY in the environment\.$"
    ):
        ensure_secret(load())


def test_production_requires_a_secret() -> None:
    with pytest.raises(SettingsError, match=r"^CART_SECRET_KEY: required with CART_ENV=production"):
        prepare(load({"CART_ENV": "production"}))
    assert list_folder() == []
    given, _ = prepare(load({"CART_ENV": "production", "CART_SECRET_KEY": SECRET}))
    assert given.secret_key == SECRET


def _secret_of_a_start(_number: int) -> str:
    return str(ensure_secret(load()).secret_key)


def test_concurrent_starts_share_one_secret() -> None:
    Path(".env.local").write_text("CART_CATALOG=closed\n")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        secrets = pool.map(_secret_of_a_start, range(40), chunksize=1)
    assert set(secrets) == {load().secret_key}
    assert load().catalog == "closed"


def test_new_secrets_are_strong_and_unique() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(load({"CART_SECRET_KEY": secret}).secret_key == secret for secret in made)


def test_replace_secret_with_and_without_the_former() -> None:
    replace_secret(keep_former=True)
    first = load()
    assert (first.secret_key is not None, first.secret_keys_old) == (True, ())
    replace_secret(keep_former=True)
    second = load()
    assert second.secret_keys_old == (first.secret_key,)
    replace_secret(keep_former=True)
    third = load()
    assert third.secret_keys_old == (second.secret_key, first.secret_key)
    replace_secret(keep_former=False)
    assert load().secret_keys_old == third.secret_keys_old
    assert load().secret_key not in (third.secret_key, *third.secret_keys_old)


def test_weak_secret_is_not_kept() -> None:
    Path(".env.local").write_text("CART_SECRET_KEY=weak\n")
    replace_secret(keep_former=True)
    assert load().secret_keys_old == ()


def test_secret_of_the_environment_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_SECRET_KEY", SECRET)
    with pytest.raises(SettingsError, match=r"^CART_SECRET_KEY: the environment sets it"):
        replace_secret(keep_former=True)
    assert list_folder() == []


def test_use_backend_names_overriding_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CART_SESSION_URL=memory://\n")
    assert use_backend("file") == []
    assert load().backend == "file"
    env_files.write(Path(".env.local"), {URL: "memory://"})
    assert use_backend("file") == [
        "CART_SESSION_URL (from .env.local) overrides CART_SESSION_BACKEND in .env.local."
    ]
    monkeypatch.setenv(BACKEND, "redis")
    assert use_backend("file")[0] == ("CART_SESSION_BACKEND=redis in the environment overrides .env.local.")
