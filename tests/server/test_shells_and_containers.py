"""Environments of operators, shells and containers."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from cartapp import backends
from cartapp.settings import Settings, load
from cartapp.settings.env_files import read, write
from cartapp.web import static
from tests.conftest import ManualClock
from tests.support.commands import CLI, CartCommand, run_cart
from tests.support.environment import list_folder, settings_error
from tests.support.polling import wait_for
from tests.support.servers.process import accepts
from tests.support.shop import HUB, shop
from tests.support.shop_server import running_shop

pytestmark = pytest.mark.anyio

# -- variables of services ----------------------------------------------------------------------------------


def links(prefix: str) -> dict[str, str]:
    """Return the variables that Kubernetes sets for a service and Docker for a link."""
    return {
        f"{prefix}_SERVICE_HOST": "10.0.0.1",
        f"{prefix}_SERVICE_PORT": "6379",
        f"{prefix}_SERVICE_PORT_REDIS": "6379",
        f"{prefix}_PORT": "tcp://10.0.0.1:6379",
        f"{prefix}_PORT_6379_TCP": "tcp://10.0.0.1:6379",
        f"{prefix}_PORT_6379_TCP_ADDR": "10.0.0.1",
        f"{prefix}_PORT_6379_TCP_PORT": "6379",
        f"{prefix}_PORT_6379_TCP_PROTO": "tcp",
        f"{prefix}_NAME": "/shop/cart",
        f"{prefix}_ENV_REDIS_VERSION": "7.0",
    }


@pytest.mark.parametrize(
    "prefix", ["CART", "CART_SESSION", "CART_REDIS", "CART_SESSION_URL", "CART_DB", "CART_SECRET"]
)
def test_b11_service_links_are_ignored(folder: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    for name, value in links(prefix).items():
        monkeypatch.setenv(name, value)
    settings = load()
    assert settings.model_dump() == Settings().model_dump()
    (notice,) = settings.notices
    assert notice == (
        f"Ignored, because Kubernetes or Docker set them for a service: {', '.join(sorted(links(prefix)))}."
    )
    monkeypatch.setenv(f"{prefix}_PORT", "udp://[fd00::1]:6379")
    assert load().model_dump() == Settings().model_dump()


def test_b11_other_values_are_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CART_SESSION_PORT", "6379")
    monkeypatch.setenv("CART_SESSION_NAME", "shop")
    monkeypatch.setenv("CART_ENV", "development")
    assert (load().session_port, load().session_name, load().notices) == (6379, "shop", [])
    monkeypatch.setenv("CART_ENV_X", "1")
    assert settings_error().startswith("CART_ENV_X: unknown setting (from the environment)")
    monkeypatch.delenv("CART_ENV_X")
    Path(".env").write_text("CART_SESSION_PORT=tcp://10.0.0.1:6379\n")
    monkeypatch.delenv("CART_SESSION_PORT")
    assert settings_error().startswith("CART_SESSION_PORT: expected a whole number")


# -- files and terminals ------------------------------------------------------------------------------------


def test_b12_first_line_after_a_byte_order_mark_is_read(folder: Path) -> None:
    """Holds for every version of python-dotenv."""
    path = Path(".env.local")
    path.write_text("CART_SESSION_TTL=77\nCART_ENV=development\n", encoding="utf-8-sig")
    assert read(path) == {"CART_SESSION_TTL": "77", "CART_ENV": "development"}
    assert load().session_ttl == 77
    write(path, {"CART_SESSION_TTL": "78"})
    assert read(path) == {"CART_SESSION_TTL": "78", "CART_ENV": "development"}


def test_b12_characters_outside_the_terminal_encoding(folder: Path) -> None:
    word = "a long phrase of mine\n"
    added = subprocess.run(
        [sys.executable, CLI, "users", "add", "zoe@example.com", "--name", "Zoë", "--password-stdin"],
        input=word,
        text=True,
        check=False,
        capture_output=True,
    )
    assert added.returncode == 0, added.stderr
    for args in (["users", "list"], ["users", "list", "--json"]):
        listed = run_cart(*args, PYTHONIOENCODING="ascii")
        assert (listed.code, listed.err) == (0, "")
        assert "Zo" in listed.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only an administrator can take a file away")
def test_b12b_root_keeps_the_owner_of_the_file(folder: Path, cart: CartCommand) -> None:
    os.chown(folder, 1234, 1235)
    assert cart("backends", "use", "file").code == 0
    made = Path(".env.local").stat()
    assert (made.st_uid, made.st_gid, made.st_mode & 0o777) == (1234, 1235, 0o600)
    os.chown(".env.local", 4321, 4322)
    assert cart("secret", "--write").code == 0
    kept = Path(".env.local").stat()
    assert (kept.st_uid, kept.st_gid, kept.st_mode & 0o777) == (4321, 4322, 0o600)


IN_AN_EMPTY_FOLDER = [
    ["users", "list"],
    ["users", "disable", "a@example.com"],
    ["users", "remove", "a@example.com", "--yes"],
    ["db", "current"],
    ["sessions", "list"],
    ["sessions", "stats"],
    ["sessions", "purge", "--expired"],
    ["sessions", "purge", "--all", "--yes"],
    ["backends", "copy", "file", "redis"],
]


@pytest.mark.parametrize("backend", ["file", "database"])
@pytest.mark.parametrize("args", IN_AN_EMPTY_FOLDER, ids=" ".join)
def test_b12b_command_in_a_folder_without_a_shop_fails(
    folder: Path, cart: CartCommand, monkeypatch: pytest.MonkeyPatch, args: list[str], backend: str
) -> None:
    monkeypatch.setenv("CART_SESSION_BACKEND", backend)
    refusal = cart(*args)
    assert (refusal.code, refusal.out, refusal.err.count("\n")) == (1, "", 1)
    assert ": data/" in refusal.err
    assert "does not exist" in refusal.err
    assert list_folder() == []


# -- processes ----------------------------------------------------------------------------------------------


def test_b12b_workers_stop_when_the_parent_is_killed(tmp_path: Path) -> None:
    with running_shop(tmp_path, {}, workers=2) as running:
        port = int(running.url.rpartition(":")[2])
        with httpx.Client(verify=False, trust_env=False) as client:
            assert client.get(f"{running.url}/healthz").status_code == 200
        workers = running.server.children("spawn_main")
        assert len(workers) == 2
        parent = running.server._process
        assert parent is not None
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        try:
            wait_for(lambda: not any(is_alive(worker) for worker in workers))
            assert not accepts(port)
        finally:
            for worker in workers:
                if is_alive(worker):
                    os.kill(worker, signal.SIGKILL)
            running.server._process = None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_b12b_first_page_does_not_wait_for_the_sqlite_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cart.db"
    settings: dict[str, Any] = {"session_backend": "database", "session_url": url, "database_url": url}
    async with shop(**settings) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.post("/api/cart/add", json=HUB)).status_code == 200
        cookies = dict(client.cookies)
    other = sqlite3.connect(f"{tmp_path}/cart.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        async with shop(**settings, session_timeout=0.5) as client:
            for name, value in cookies.items():
                client.cookies.set(name, value, domain="testserver.local")
            page = await client.get("/", headers={"Accept": "text/html"})
            assert (page.status_code, HUB["name"] in page.text) == (200, True)
            assert (await client.get("/api/cart")).json()["item_count"] == HUB["quantity"]
            assert (await client.post("/api/cart/add", json=HUB)).status_code == 503
    finally:
        other.close()


class SlowImport(MetaPathFinder):
    """Delay the import of a driver, as on a busy machine."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.startswith("pymongo") and "." not in name:
            time.sleep(1.5)


async def test_b12_driver_imports_do_not_use_up_timeouts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data" / "sessions").mkdir(mode=0o700, parents=True)
    for name in [name for name in sys.modules if name.split(".")[0] in ("pymongo", "bson", "gridfs")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("cartapp.session.stores.mongodb.store")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [SlowImport(), *sys.meta_path])
    states = await backends.get_backend_statuses(Settings(session_timeout=0.5))
    (file,) = [state for state in states if state.name == "file"]
    assert file.remark == "reachable"


# -- cookies and pictures -----------------------------------------------------------------------------------


async def test_b12_cookie_is_set_again_before_it_expires(
    clock: ManualClock,
) -> None:
    for days, again in ((399, False), (1000, True)):
        settings = {"session_max_age": days * 86400, "session_ttl": days * 86400}
        async with shop(**settings) as client:
            first = await client.post("/api/cart/add", json=HUB)
            later = await client.post("/api/cart/add", json=HUB)
            read = await client.get("/api/cart")
        assert "Set-Cookie" in first.headers
        assert ("Set-Cookie" in later.headers) is again
        assert "Set-Cookie" not in read.headers


def test_b12b_changed_static_file_gets_a_new_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    file = tmp_path / "style.css"
    file.write_text("a {}")
    before = static.static_url("style.css")
    file.write_text("b {}")
    os.utime(file, ns=(1, 1))
    after = static.static_url("style.css")
    assert before != after
    file.write_text("a {}")
    assert static.static_url("style.css") == before
    with pytest.raises(FileNotFoundError):
        static.static_url("nothing.css")
