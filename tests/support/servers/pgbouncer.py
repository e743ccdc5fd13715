"""A pgbouncer for tests, in front of their PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import make_url

from tests.support.requirements import require_program
from tests.support.servers.process import Server, accepts, free_port, temporary_folder, unprivileged
from tests.support.servers.sql import PASSWORD, SqlServer, url


@contextmanager
def running(postgresql: SqlServer, *, server_connections: int = 3) -> Iterator[SqlServer]:
    """Start a pooler in transaction mode: each transaction may use another of a few server connections."""
    pgbouncer = require_program("pgbouncer", "apt-get install pgbouncer")
    user, port, server_port = unprivileged("postgres"), free_port(), make_url(postgresql.url).port
    with temporary_folder(user) as folder:
        (folder / "users").write_text(f'"cart" "{PASSWORD}"\n"app" "{PASSWORD}"\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "pool_mode": "transaction",
            "default_pool_size": server_connections,
            "server_round_robin": 1,  # the next transaction uses another connection, even without load
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"* = host=127.0.0.1 port={server_port}"
        (folder / "ini").write_text("\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""]))
        with Server([pgbouncer, "ini"], folder=folder, ready=lambda: accepts(port), user=user) as server:
            yield SqlServer(url("postgresql", "cart", port, "postgres"), server)
