"""Which session store the settings choose, and what a start makes and refuses."""

import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from cartapp import envfile, settings, start
from cartapp.local import ensure_secret, replace_secret, use_backend
from cartapp.session import stores
from cartapp.session.errors import InvalidStoreURL, MissingDriver
from cartapp.session.keys import new_secret
from cartapp.settings import SettingsError, check_workers, load, masked_url
from cartapp.start import prepare, store_of

from .servers.process import free_port
from .surroundings import names, refused

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
def test_url_and_backend_by_strength(
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
def test_h11_a_file_of_secrets_that_others_can_read_is_said(mode: int, count: int) -> None:
    Path(".env.local").write_text("CART_LOG_LEVEL=INFO\n")
    Path(".env.local").chmod(mode)
    assert len(load().notices) == count
    assert all("chmod 600 .env.local" in notice for notice in load().notices)


def test_an_overruled_url_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "redis://h")
    assert load({BACKEND: "file"}).notices == [
        "CART_SESSION_URL (from the environment) is not used: "
        "CART_SESSION_BACKEND (from the command line) is stronger."
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
def test_the_store_url_is_made_of_its_parts(parts: dict[str, str], url: str, folder: Path) -> None:
    found = load({f"CART_SESSION_{name}": value for name, value in parts.items()})
    assert found.store_url == url.format(cwd=folder)


def test_parts_that_do_not_fit_the_backend() -> None:
    assert refused(CART_SESSION_BACKEND="redis", CART_SESSION_DATABASE="myapp") == (
        "CART_SESSION_DATABASE must be a number for redis, not 'myapp'."
    )
    assert refused(CART_SESSION_BACKEND="mongodb", CART_SESSION_PASSWORD="x").startswith(
        "CART_SESSION_PASSWORD is not enough for mongodb"
    )
    assert load({"CART_SESSION_DATABASE": "myapp", "CART_SESSION_PASSWORD": "x"}).backend == "file"


def test_memory_is_for_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for choice in ({BACKEND: "memory"}, {URL: "memory://"}):
        found = load(choice)
        check_workers(found, 1)
        with pytest.raises(SettingsError, match="CART_SESSION_BACKEND is memory"):
            check_workers(found, 2)
    check_workers(load(), 8)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            {URL: "file://data/sessions"},
            "CART_SESSION_URL cannot be used. A file store's URL is file:/// and an ",
        ),
        (
            {URL: "memory:///x"},
            "CART_SESSION_URL cannot be used. A memory store's URL is memory:// with nothing ",
        ),
        (
            {URL: "file+x:///data"},
            "CART_SESSION_URL cannot be used. There is no session store for file+x, only ",
        ),
    ],
)
def test_a_store_that_cannot_be_opened_is_refused_by_name(choice: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        store_of(load(choice))
    assert str(refusal.value).startswith(sentence)
    assert len(refusal.value.sentences) == 1


def test_a_backend_of_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "BACKENDS", stores.BACKENDS[:2])
    for choice, variable in (({BACKEND: "redis"}, BACKEND), ({URL: "redis://h"}, URL)):
        with pytest.raises(SettingsError) as refusal:
            store_of(load(choice))
        assert str(refusal.value) == (
            f"{variable} chooses redis, which this version does not have: it must choose file or memory."
        )


def test_a_missing_driver_is_refused_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    driverless = replace(stores.BACKENDS[0], driver="no_such_driver", extra="files")
    monkeypatch.setattr(stores, "BACKENDS", (driverless,))
    with pytest.raises(MissingDriver, match=r'pip install "cartapp\[files\]"$'):
        stores.open_store("file:///tmp")
    with pytest.raises(SettingsError, match=r'^CART_SESSION_BACKEND .* pip install "cartapp\[files\]"$'):
        store_of(load({BACKEND: "file"}))


@pytest.mark.parametrize(
    "url",
    ["", "data/sessions", "file:relative", "http://[::1", "nosuch://h", "file:///a?b=1", "file:///a%00b"],
)
def test_urls_that_name_no_store(url: str) -> None:
    with pytest.raises(InvalidStoreURL):
        stores.open_store(url)


@pytest.mark.parametrize("url", ["file:///tmp/a%20b", "file://localhost/tmp/x", "memory://"])
def test_urls_that_name_a_store(url: str) -> None:
    assert stores.open_store(url).name == url.partition(":")[0]


def test_the_command_line_reaches_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "redis://h")
    settings.hand_over({BACKEND: "memory"})
    try:
        assert load().backend == "memory"
    finally:
        del os.environ[BACKEND]


def test_a_lifetime_below_the_idle_time_is_said() -> None:
    assert load({"CART_SESSION_MAX_AGE": "60"}).notices == [
        "CART_SESSION_MAX_AGE (60) is below CART_SESSION_TTL (3600), "
        "so no session lives as long as the latter."
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
        ("redis://h/0?username=u&ssl_keyfile=k#x", "redis://h/0?username=u&ssl_keyfile=***"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert masked_url(url) == masked


# -- .env.local -------------------------------------------------------------------------------------------


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_writing_keeps_every_other_line() -> None:
    local = Path(".env.local")
    local.write_text("# mine\nexport A='x'  # why\n\nB=1\nB=2\nC=last")
    local.chmod(0o644)
    envfile.write(local, {"B": "3", "D": "4"})
    assert local.read_text() == "# mine\nexport A='x'  # why\n\nB=3\nC=last\nD=4\n"
    assert mode(local) == 0o600
    assert names() == [".env.local"]


def test_writing_through_a_symbolic_link_keeps_the_link(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    Path(".env.local").symlink_to("elsewhere/secrets")
    envfile.write(Path(".env.local"), {"A": "1"})
    assert Path(".env.local").is_symlink()
    assert Path("elsewhere/secrets").read_text() == "A=1\n"


def test_a_failed_write_leaves_nothing_behind() -> None:
    Path(".env.local").mkdir()
    with pytest.raises(OSError, match="directory"):
        envfile.write(Path(".env.local"), {"A": "1"})
    assert names() == [".env.local"]


def test_the_first_start_makes_folder_and_secret_and_the_second_nothing() -> None:
    first, made = prepare(load())
    assert made == [
        "A secret key was made and kept in .env.local.",
        "The folder data/sessions was made for the sessions.",
        "The database data/cart.db was made for users and products.",
    ]
    assert (mode("data"), mode("data/sessions"), mode(".env.local")) == (0o700, 0o700, 0o600)
    second, made = prepare(load())
    assert made == []
    assert first.secret_key is not None
    assert first.secret_key == second.secret_key == load().secret_key


def test_a_start_is_refused_where_no_folder_can_be() -> None:
    Path("data").write_text("")
    with pytest.raises(SettingsError, match=r"^CART_SESSION_PATH must name a folder"):
        prepare(load())
    with pytest.raises(SettingsError, match=r"^CART_SESSION_URL must name a folder"):
        prepare(load({URL: Path("data").absolute().as_uri()}))


def test_a_start_is_refused_where_the_driver_cannot_take_the_url() -> None:
    url = f"postgresql://me:unspoken@127.0.0.1:{free_port()}/shop"
    for variable in ("DATABASE_URL", URL):
        with pytest.raises(SettingsError) as refusal:
            prepare(load({variable: f"{url}?nosuch=1"}))
        assert str(refusal.value) == (
            f"{variable} cannot be used. The PostgreSQL driver cannot take the database's URL: "
            "connect() got an unexpected keyword argument 'nosuch'."
        )
    prepare(load({URL: url}))  # out of reach, which may pass


def test_a_secret_that_cannot_be_kept_is_asked_for() -> None:
    Path(".env.local").mkdir()
    with pytest.raises(
        SettingsError, match=r"^CART_SECRET_KEY must be set in the environment, as .env.local"
    ):
        ensure_secret(load())


def test_production_wants_a_secret_from_outside() -> None:
    with pytest.raises(SettingsError, match=r"^CART_SECRET_KEY must be given from outside"):
        prepare(load({"CART_ENV": "production"}))
    assert names() == []
    given, _ = prepare(load({"CART_ENV": "production", "CART_SECRET_KEY": SECRET}))
    assert given.secret_key == SECRET


def _secret_of_a_start(_number: int) -> str:
    return str(ensure_secret(load()).secret_key)


def test_processes_that_start_at_once_share_one_secret() -> None:
    Path(".env.local").write_text("CART_CATALOG=closed\n")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        secrets = pool.map(_secret_of_a_start, range(40), chunksize=1)
    assert set(secrets) == {load().secret_key}
    assert load().catalog == "closed"


def test_new_secrets_are_strong_and_differ() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(load({"CART_SECRET_KEY": secret}).secret_key == secret for secret in made)


def test_replacing_a_secret_with_and_without_the_former() -> None:
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


def test_a_weak_secret_is_replaced_and_not_kept() -> None:
    Path(".env.local").write_text("CART_SECRET_KEY=weak\n")
    replace_secret(keep_former=True)
    assert load().secret_keys_old == ()


def test_a_secret_of_the_environment_is_not_replaced_in_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_SECRET_KEY", SECRET)
    with pytest.raises(SettingsError, match=r"^CART_SECRET_KEY stands in the environment"):
        replace_secret(keep_former=True)
    assert names() == []


def test_choosing_a_backend_names_what_is_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CART_SESSION_URL=memory://\n")
    assert use_backend("file") == []
    assert load().backend == "file"
    envfile.write(Path(".env.local"), {URL: "memory://"})
    assert use_backend("file") == [
        "CART_SESSION_URL (from .env.local) is set, and stronger than CART_SESSION_BACKEND in .env.local."
    ]
    monkeypatch.setenv(BACKEND, "redis")
    assert use_backend("file")[0] == (
        "CART_SESSION_BACKEND in the environment is redis, and stronger than .env.local."
    )
