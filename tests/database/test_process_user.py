"""Databases with a process user unknown to the system, as in a container. Needs root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.requirements import skip_or_fail
from tests.support.servers.process import temporary_folder
from tests.support.servers.sql import SqlServer
from tests.support.shop_server import ROOT

# A first attempt as root imports everything: the later user may not read the Python files.
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, key_from_id, new_id, now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore

async def write(store):
    record = Record(key_from_id(new_id()), now(), now(), now() + 60_000, b"{}")
    try:
        return await store.create(record)
    except StoreUnavailable as error:
        return f"{type(error).__name__}: {error}"

async def attempt(url):
    store = SqlStore(Database(url))
    print(await write(store), flush=True)
    await store.close()

async def become_writable(path):
    await attempt(f"sqlite:///{path}")
    path.chmod(0o400)
    store = SqlStore(Database(f"sqlite:///{path}"))
    print(await write(store), await write(store))
    for each in path.parent.iterdir():  # includes the shared-memory file
        each.chmod(0o600)
    print(await write(store), await write(store))
    await store.close()

def become(uid):
    os.setgid(uid)
    os.setuid(uid)

"""

NAMELESS = 54321


def run(script: str, *arguments: str, home: Path = Path("/nonexistent")) -> list[str]:
    """Return the lines that the script prints, in an environment that names no user."""
    if os.geteuid() != 0:
        skip_or_fail("root", "Only root can become a user without a name.")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", SCRIPT + script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AS_NAMELESS = f"""
asyncio.run(attempt("postgresql://someuser@127.0.0.1:1/none?ssl=disable"))
become({NAMELESS})
asyncio.run(attempt(sys.argv[1]))
"""


def test_nameless_process_user_and_url_without_user() -> None:
    _, answer = run(AS_NAMELESS, "postgresql://127.0.0.1:1/none?ssl=disable")
    assert answer == (
        "UnusableURL: The PostgreSQL database's URL names no user, and the user of this process has no name: "
        "add a user to the URL."
    )


@pytest.mark.parametrize("options", ["", "?sslmode=require"])
def test_unreadable_home_folder(options: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    _, answer = run(AS_NAMELESS, f"postgresql://someuser@127.0.0.1:1/none{options}", home=tmp_path)
    assert answer == (
        f"UnusableURL: {tmp_path}/.postgresql may not be read: "
        "set HOME to a folder of the user of this process."
    )


def test_nameless_process_user_without_home_can_connect(postgresql_server: SqlServer) -> None:
    assert run(AS_NAMELESS, postgresql_server.url)[1] == "1"


def test_sqlite_file_is_writable_after_its_permissions_change(tmp_path: Path) -> None:
    """A connection opened while the file is read-only stays read-only; a new one is writable."""
    with temporary_folder() as folder:
        os.chown(folder, NAMELESS, NAMELESS)
        lines = run(
            f"asyncio.run(attempt('sqlite:///{tmp_path}/root.db'))\nbecome({NAMELESS})\n"
            f"asyncio.run(become_writable(Path('{folder}/cart.db')))"
        )
    assert lines[1] == "1"
    assert lines[2].count("attempt to write a readonly database") == 2
    assert lines[3] == "1 1"
