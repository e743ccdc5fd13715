"""A PostgreSQL server of the tests' own."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.needs import unmet
from tests.servers.process import Server, free_port, temporary_folder, unprivileged
from tests.servers.sql import PASSWORD, SqlServer, prepared, url

# Debian keeps the programs of each version off the path.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[SqlServer]:
    with running() as server:
        yield server


@contextmanager
def running() -> Iterator[SqlServer]:
    """A new, empty server."""
    options = (
        "--auth=scram-sha-256",
        "--username=cart",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    )
    user = unprivileged("postgres")
    with temporary_folder(user) as folder:
        (folder / "password").write_text(PASSWORD)
        prepared([program("initdb"), "data", "--pwfile=password", *options], user, folder)
        with _started(folder, user) as server:
            yield server


@contextmanager
def replica(primary: SqlServer) -> Iterator[SqlServer]:
    """A standby that follows this server until `pg_promote` is called on it."""
    user, port = unprivileged("postgres"), make_url(primary.url).port
    command = (program("pg_basebackup"), "--host=127.0.0.1", f"--port={port}", "--username=cart")
    options = ("--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
    with temporary_folder(user) as folder:
        prepared([*command, *options], user, folder, PGPASSWORD=PASSWORD)
        with _started(folder, user) as server:
            yield server


def program(name: str) -> Path:
    if not PROGRAMS:
        unmet("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
    return PROGRAMS[-1] / name


@contextmanager
def _started(folder: Path, user: str | None) -> Iterator[SqlServer]:
    port = free_port()
    # Without fsync only a power cut could lose something; the tests kill processes.
    settings = ("fsync=off", f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
    command = [str(program("postgres")), "-D", "data", *(f"--{setting}" for setting in settings)]
    is_ready = [str(program("pg_isready")), "--host=127.0.0.1", f"--port={port}"]

    def ready() -> bool:
        return subprocess.run(is_ready, capture_output=True, check=False).returncode == 0

    # SIGINT ends the connections that there are; SIGTERM would wait for them.
    with Server(command, folder=folder, ready=ready, user=user, stop_by=signal.SIGINT) as server:
        yield SqlServer(url("postgresql", "cart", port, "postgres"), server)
