"""Databases for a process whose user is not that of its surroundings, as in a container. Needs root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .needs import unmet
from .running import ROOT
from .servers.process import temporary_folder
from .servers.sql import SqlServer

# Everything is imported as root, by a first attempt: the user that it then is may read no Python files.
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import Record, key_of, new_id, now
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import SqlStore

async def write(store):
    record = Record(key_of(new_id()), now(), now(), now() + 60_000, b"{}")
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
    for each in path.parent.iterdir():  # the memory that its connections share is a file, too
        each.chmod(0o600)
    print(await write(store), await write(store))
    await store.close()

def become(uid):
    os.setgid(uid)
    os.setuid(uid)

"""

NAMELESS = 54321


def run(script: str, *arguments: str, home: Path = Path("/nonexistent")) -> list[str]:
    """The lines that the script prints, with nothing in its environment that names a user."""
    if os.geteuid() != 0:
        unmet("root", "Only root can become a user without a name.")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", SCRIPT + script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AS_NAMELESS = f"""
asyncio.run(attempt("postgresql://somebody@127.0.0.1:1/none?ssl=disable"))
become({NAMELESS})
asyncio.run(attempt(sys.argv[1]))
"""


def test_a_user_without_a_name_and_a_url_without_a_user() -> None:
    _, answer = run(AS_NAMELESS, "postgresql://127.0.0.1:1/none?ssl=disable")
    assert answer == (
        "UnusableURL: The PostgreSQL database's URL names no user, and the user of this process has no name: "
        "write one into the URL."
    )


@pytest.mark.parametrize("options", ["", "?sslmode=require"])
def test_a_home_that_may_not_be_read(options: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    _, answer = run(AS_NAMELESS, f"postgresql://somebody@127.0.0.1:1/none{options}", home=tmp_path)
    assert answer == (
        f"UnusableURL: {tmp_path}/.postgresql may not be read: "
        "set HOME to a folder of the user of this process."
    )


def test_a_user_without_a_name_and_a_home_is_enough(postgresql_server: SqlServer) -> None:
    assert run(AS_NAMELESS, postgresql_server.url)[1] == "1"


def test_a_sqlite_file_is_written_as_soon_as_it_may_be(tmp_path: Path) -> None:
    """A connection that was opened while the file was read-only stays so."""
    with temporary_folder() as folder:
        os.chown(folder, NAMELESS, NAMELESS)
        lines = run(
            f"asyncio.run(attempt('sqlite:///{tmp_path}/root.db'))\nbecome({NAMELESS})\n"
            f"asyncio.run(become_writable(Path('{folder}/cart.db')))"
        )
    assert lines[1] == "1"
    assert lines[2].count("attempt to write a readonly database") == 2
    assert lines[3] == "1 1"
