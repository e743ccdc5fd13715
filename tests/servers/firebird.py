"""A Firebird 3 server of the tests' own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import program
from tests.servers.process import Server, accepts, free_port, temporary_folder, unprivileged
from tests.servers.sql import PASSWORD, SqlServer, prepared, url

ROOTS = sorted(Path("/usr/lib").glob("*/firebird/3.0"))
PARTS = ("plugins", "plugins.conf", "intl", "databases.conf", "firebird.msg")

CONFIGURATION = """
RemoteServicePort = {port}
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
    firebird = program("firebird", "apt-get install firebird3.0-server")
    user, port = unprivileged("firebird"), free_port()
    with temporary_folder(user) as folder:
        for part in PARTS:
            (folder / part).symlink_to(ROOTS[0] / part)
        (folder / "firebird.conf").write_text(CONFIGURATION.format(port=port, folder=folder))
        (folder / "init.sql").write_text(INIT)
        env = {"FIREBIRD": str(folder), "FIREBIRD_LOCK": str(folder), "FIREBIRD_TMP": str(folder)}
        prepared(["isql-fb", "-user", "SYSDBA", "-quiet", "-bail", "-input", "init.sql"], user, folder, **env)
        # Only a power cut could lose something; the tests kill processes.
        prepared(["gfix", "-user", "SYSDBA", "-write", "async", "cart.fdb"], user, folder, **env)
        ready = lambda: accepts(port)  # noqa: E731
        with Server([firebird], folder=folder, ready=ready, user=user, env=env) as server:
            yield SqlServer(url("firebird", "SYSDBA", port, f"{folder}/cart.fdb"), server)
