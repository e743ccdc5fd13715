"""A PostgreSQL server of the tests' own."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import unmet
from tests.servers.process import Server, free_port, temporary_folder, unprivileged
from tests.servers.sql import PASSWORD, SqlServer, prepared, url

# Debian keeps the programs of each version off the path.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[SqlServer]:
    if not PROGRAMS:
        unmet("postgresql", "PostgreSQL is not installed: apt-get install postgresql")
    programs, user, port = PROGRAMS[-1], unprivileged("postgres"), free_port()
    with temporary_folder(user) as folder:
        (folder / "password").write_text(PASSWORD)
        options = (
            "--auth=scram-sha-256",
            "--username=cart",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        prepared([programs / "initdb", "data", "--pwfile=password", *options], user, folder)
        # Without fsync only a power cut could lose something; the tests kill processes.
        settings = ("fsync=off", f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        command = [str(programs / "postgres"), "-D", "data", *(f"--{setting}" for setting in settings)]
        is_ready = [str(programs / "pg_isready"), "--host=127.0.0.1", f"--port={port}"]

        def ready() -> bool:
            return subprocess.run(is_ready, capture_output=True, check=False).returncode == 0

        # SIGINT ends the connections that there are; SIGTERM would wait for them.
        with Server(command, folder=folder, ready=ready, user=user, stop_by=signal.SIGINT) as server:
            yield SqlServer(url("postgresql", "cart", port, "postgres"), server)
