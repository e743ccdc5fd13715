"""A Firebird 3 server for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.requirements import require_program
from tests.support.servers.process import Disk, Server, accepts, free_port, temporary_folder, unprivileged
from tests.support.servers.sql import PASSWORD, SqlServer, prepared, url

ROOTS = sorted(Path("/usr/lib").glob("*/firebird/3.0"))
PARTS = ("plugins", "plugins.conf", "intl", "databases.conf", "firebird.msg")

CONFIGURATION = """
RemoteBindAddress = 127.0.0.1
SecurityDatabase = {folder}/security.fdb
DatabaseAccess = Restrict {folder}
"""

INIT = f"""
CREATE DATABASE 'security.fdb';
INPUT /usr/share/firebird/3.0/security.sql;
CREATE USER SYSDBA PASSWORD '{PASSWORD}' USING PLUGIN Srp;
COMMIT;
CREATE DATABASE 'cart.fdb' DEFAULT CHARACTER SET UTF8;
"""


@pytest.fixture(scope="session")
def firebird_server() -> Iterator[SqlServer]:
    with running() as server:
        yield server


@contextmanager
def running(disk: Disk = temporary_folder) -> Iterator[SqlServer]:
    """Start a server with the empty database `cart.fdb` in a folder of `disk`."""
    require_program("firebird", "apt-get install firebird3.0-server")
    user, port = unprivileged("firebird"), free_port()
    with disk(user) as folder:
        for part in PARTS:
            (folder / part).symlink_to(ROOTS[0] / part)
        (folder / "firebird.conf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "init.sql").write_text(INIT)
        env = _environment(folder)
        prepared(["isql-fb", "-user", "SYSDBA", "-quiet", "-bail", "-input", "init.sql"], user, folder, **env)
        # Only a power failure could lose data; the tests kill processes.
        prepared(["gfix", "-user", "SYSDBA", "-write", "async", "cart.fdb"], user, folder, **env)
        with _server(folder, port) as server:
            yield SqlServer(url("firebird", "SYSDBA", port, f"{folder}/cart.fdb"), server)


def successor(former: SqlServer) -> tuple[Server, int]:
    """Return a second server for the same files, not yet started, and its port."""
    port = free_port()
    return _server(Path(make_url(former.url).database or "").parent, port), port


def _server(folder: Path, port: int) -> Server:
    firebird = require_program("firebird", "apt-get install firebird3.0-server")
    return Server(
        [firebird, "-p", str(port)],
        folder=folder,
        ready=lambda: accepts(port),
        user=unprivileged("firebird"),
        env=_environment(folder),
    )


def _environment(folder: Path) -> dict[str, str]:
    return {"FIREBIRD": str(folder), "FIREBIRD_LOCK": str(folder), "FIREBIRD_TMP": str(folder)}
