"""A MariaDB server for tests."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, text

from cartapp.session.stores.sql.engine import Database
from tests.support.polling import DEADLINE
from tests.support.requirements import require_program
from tests.support.servers.process import Disk, Server, accepts, free_port, temporary_folder, unprivileged
from tests.support.servers.sql import PASSWORD, SqlServer, prepared, url

INIT = f"""
CREATE DATABASE IF NOT EXISTS cart;
CREATE USER IF NOT EXISTS cart@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON cart.* TO cart@'127.0.0.1';
CREATE USER IF NOT EXISTS admin@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';
GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION;
"""


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[SqlServer]:
    with running() as server:
        yield server


@contextmanager
def running(*options: str, disk: Disk = temporary_folder) -> Iterator[SqlServer]:
    """Start a server with the empty database `cart` in a folder of `disk`."""
    mariadbd = require_program("mariadbd", "apt-get install mariadb-server")
    user, port = unprivileged("mysql"), free_port()
    # A starting server deletes the files of others in its temporary folder, so each needs its own.
    with disk(user) as folder, temporary_folder(user) as tmpdir:
        (folder / "init.sql").write_text(INIT)
        files = ("--no-defaults", f"--datadir={folder}/data", f"--tmpdir={tmpdir}")
        prepared(["mariadb-install-db", *files, "--skip-test-db"], user, folder)
        command = [
            mariadbd,
            *files,
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            f"--init-file={folder}/init.sql",
            "--innodb-flush-log-at-trx-commit=2",  # only a power failure could lose data
            *options,
        ]
        with Server(command, folder=folder, ready=lambda: accepts(port), user=user) as server:
            yield SqlServer(url("mariadb", "cart", port, "cart"), server)


@contextmanager
def global_variables(server: SqlServer, **variables: str | int) -> Iterator[None]:
    """Set server variables for connections opened in the block."""
    before = _set_global(server, variables)
    try:
        yield
    finally:
        _set_global(server, before)


def _set_global(server: SqlServer, variables: Mapping[str, str | int]) -> dict[str, str | int]:
    """Set the variables and return their previous values."""

    def change(connection: Connection) -> dict[str, str | int]:
        before = {name: connection.scalar(text(f"SELECT @@GLOBAL.{name}")) for name in variables}
        for name, value in variables.items():
            connection.execute(text(f"SET GLOBAL {name} = :value"), {"value": value})
        return before

    async def run() -> dict[str, str | int]:
        database = Database(server.url.replace("//cart:", "//admin:"), timeout=DEADLINE)
        try:
            return await database.read(change)
        finally:
            await database.close()

    return asyncio.run(run())
