"""A PostgreSQL server for tests."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.support.requirements import skip_or_fail
from tests.support.servers.process import Disk, Server, free_port, temporary_folder, unprivileged
from tests.support.servers.sql import PASSWORD, SqlServer, prepared, url

# Debian does not put the programs of a version on the path.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[SqlServer]:
    with running() as server:
        yield server


@contextmanager
def running(
    disk: Disk = temporary_folder, *, initdb: Sequence[str] = (), settings: Sequence[str] = ()
) -> Iterator[SqlServer]:
    """Start an empty server in a folder of `disk`, with additional options of initdb and settings."""
    options = (
        "--auth=scram-sha-256",
        "--username=cart",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        *initdb,
    )
    user = unprivileged("postgres")
    with disk(user) as folder:
        (folder / "password").write_text(PASSWORD)
        prepared([program("initdb"), "data", "--pwfile=password", *options], user, folder)
        with _started(folder, user, settings) as server:
            yield server


@contextmanager
def replica(primary: SqlServer) -> Iterator[SqlServer]:
    """Start a standby that replicates this server until `pg_promote` is called on it."""
    user, port = unprivileged("postgres"), make_url(primary.url).port
    command = (program("pg_basebackup"), "--host=127.0.0.1", f"--port={port}", "--username=cart")
    options = ("--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
    with temporary_folder(user) as folder:
        prepared([*command, *options], user, folder, PGPASSWORD=PASSWORD)
        with _started(folder, user) as server:
            yield server


def program(name: str) -> Path:
    if not PROGRAMS:
        skip_or_fail("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
    return PROGRAMS[-1] / name


@contextmanager
def _started(folder: Path, user: str | None, more: Sequence[str] = ()) -> Iterator[SqlServer]:
    port = free_port()
    # Without fsync only a power failure could lose data; the tests kill processes.
    settings = ("fsync=off", f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *more)
    command = [str(program("postgres")), "-D", "data", *(f"--{setting}" for setting in settings)]
    is_ready = [str(program("pg_isready")), "--host=127.0.0.1", f"--port={port}"]

    def ready() -> bool:
        return subprocess.run(is_ready, capture_output=True, check=False).returncode == 0

    # SIGINT closes open connections; SIGTERM would wait for them.
    with Server(command, folder=folder, ready=ready, user=user, stop_by=signal.SIGINT) as server:
        yield SqlServer(url("postgresql", "cart", port, "postgres"), server)
