"""Common parts of the fixtures of all SQL servers."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support.servers.process import Server, ServerFailed

PASSWORD = "p@ss:w/rd%"  # each of its special characters has a meaning in a URL


@dataclass(frozen=True)
class SqlServer:
    """A running server with one empty database."""

    url: str
    server: Server


def url(scheme: str, user: str, port: int, database: str) -> str:
    """Return the SQLAlchemy URL of a database on the loopback address."""
    return f"{scheme}://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/{database}"


def prepared(command: Sequence[str | Path], user: str | None, folder: Path, **env: str) -> None:
    """Run a program that prepares a server's files, as the server's account.

    Raises `ServerFailed`.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **env},
        user=user,
        extra_groups=[] if user else None,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise ServerFailed(f"{command[0]} failed:\n{done.stdout}")
