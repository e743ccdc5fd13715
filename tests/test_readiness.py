"""`/readyz` says what requests would meet, on real servers that fail in other ways than by being away."""

import asyncio
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import Connection, func, select

from cartapp.accounts.tables import ATTEMPTS
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import TABLE

from .databases import DATABASES, with_schema
from .needs import unmet
from .servers.mariadb import global_variables
from .servers.redis import redis_binary, running
from .servers.sql import PASSWORD, SqlServer
from .shop import HUB, shop
from .waiting import until

pytestmark = pytest.mark.anyio

READY = (200, {"status": "ready"})


async def status(client: httpx.AsyncClient) -> tuple[int, Any]:
    answer = await client.get("/readyz")
    return answer.status_code, answer.json()


async def becomes(client: httpx.AsyncClient, expected: int) -> Any:
    """What it says when it has noticed."""

    async def has_become() -> bool:
        return (await status(client))[0] == expected

    await until(has_become)
    return (await status(client))[1]


async def fails(client: httpx.AsyncClient, *reasons: str) -> None:
    """That it is not ready, says why, and that a request does fail."""
    said = await becomes(client, 503)
    assert said["error"].startswith("Not ready: the ")
    assert any(reason in detail for reason in reasons for detail in said["details"]), said
    client.cookies.clear()
    assert (await client.post("/api/cart/add", json=HUB)).status_code == 503


async def works(client: httpx.AsyncClient) -> None:
    await becomes(client, 200)
    assert (await client.post("/api/cart/add", json=HUB)).status_code == 200


def execute(url: str, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for statement in statements:
            connection.exec_driver_sql(statement)

    _run(url, work)


def _run(url: str, work: Callable[[Connection], Any]) -> Any:
    async def run() -> Any:
        database = Database(url, timeout=20)
        try:
            return await database.run(work)
        finally:
            await database.close()

    return asyncio.run(run())


def in_database(url: str, **settings: Any) -> Any:
    return shop(session_backend="database", session_url=url, database_url=url, **settings)


@pytest.fixture
def postgresql(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES["postgresql"](request))


@pytest.fixture
def mariadb(request: pytest.FixtureRequest) -> str:
    return with_schema(DATABASES["mariadb"](request))


async def test_b5_a_check_leaves_nothing_and_is_shared(postgresql: str) -> None:
    async with in_database(postgresql) as client:
        answers = await asyncio.gather(*(status(client) for _ in range(50)))
    assert answers == [READY] * 50

    def rows(connection: Connection) -> list[int | None]:
        tables = (TABLE, ATTEMPTS)
        return [connection.scalar(select(func.count()).select_from(table)) for table in tables]

    assert await asyncio.to_thread(_run, postgresql, rows) == [0, 0]


async def test_b5_a_read_only_postgresql(postgresql: str) -> None:
    async with in_database(postgresql) as client:
        await works(client)
        await asyncio.to_thread(set_read_only, postgresql, True)
        try:
            await fails(client, "read-only transaction")
        finally:
            await asyncio.to_thread(set_read_only, postgresql, False)
        await works(client)


def set_read_only(url: str, on: bool) -> None:
    """Set it for all transactions to come, also of connections that there are."""

    async def run() -> None:
        database = Database(url, timeout=20)
        value = "on" if on else "off"
        for statement in (
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        ):
            await database.read(partial(Connection.exec_driver_sql, statement=statement))
        await database.close()

    asyncio.run(run())


async def test_b5_a_read_only_mariadb(mariadb: str, mariadb_server: SqlServer) -> None:
    async with in_database(mariadb) as client:
        await works(client)
        context = global_variables(mariadb_server, read_only=1)
        await asyncio.to_thread(context.__enter__)
        try:
            await fails(client, "read-only")
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
        await works(client)


@pytest.mark.parametrize("table", ["cart_attempt", "cart_remember_me", "cart_product"])
async def test_b5_a_table_is_missing(postgresql: str, table: str) -> None:
    async with in_database(postgresql) as client:
        await works(client)
        await asyncio.to_thread(execute, postgresql, f"ALTER TABLE {table} RENAME TO away")
        try:
            said = await becomes(client, 503)
            assert said["error"] == "Not ready: the database of accounts and products cannot be used"
            assert f'"{table}" does not exist' in said["details"][0]
        finally:
            await asyncio.to_thread(execute, postgresql, f"ALTER TABLE away RENAME TO {table}")
        await works(client)


async def test_b5_a_right_is_missing(mariadb: str) -> None:
    """The application's role may read the sessions and change nothing of them."""
    role = "app2@'127.0.0.1'"
    admin = mariadb.replace("//cart:", "//admin:")
    made = f"CREATE USER {role} IDENTIFIED BY '{PASSWORD.replace('%', '%%')}'"
    await asyncio.to_thread(execute, admin, made, f"GRANT ALL ON cart.* TO {role}")
    async with in_database(mariadb.replace("//cart:", "//app2:")) as client:
        await works(client)
    rights = "REVOKE ALL ON cart.* FROM", "GRANT SELECT ON cart.* TO", "GRANT ALL ON cart.* TO"
    async with in_database(mariadb.replace("//cart:", "//app2:")) as client:
        await asyncio.to_thread(execute, admin, *(f"{right} {role}" for right in rights[:2]))
        await fails(client, "command denied")
        await asyncio.to_thread(execute, admin, f"{rights[2]} {role}")
    async with in_database(mariadb.replace("//cart:", "//app2:")) as client:
        await works(client)


async def test_b5_the_database_file_is_deleted_and_comes_back(tmp_path: Path) -> None:
    file, backup = tmp_path / "cart.db", tmp_path / "backup.db"
    async with in_database(f"sqlite:///{file}") as client:
        await works(client)
        connection = sqlite3.connect(file)
        connection.execute(f"VACUUM INTO '{backup}'")
        connection.close()
        for one in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            one.unlink(missing_ok=True)
        await fails(client, "No such file or directory")
        account = {"name": "A", "email": "a@example.com", "password": "a long phrase of mine"}
        assert (await client.post("/register", json=account)).status_code == 503
        assert not file.exists()
        backup.rename(file)
        await works(client)
        assert (await client.post("/register", json=account)).status_code == 201


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, to be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
    if mounted.returncode:
        unmet("mount", "this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("backend", ["file", "database"])
async def test_b5_a_full_disk(full_disk: Path, backend: str) -> None:
    url = f"sqlite:///{full_disk}/cart.db"
    settings = {"session_path": f"{full_disk}/sessions"} if backend == "file" else {"session_url": url}
    async with shop(session_backend=backend, database_url=url, **settings) as client:
        await works(client)
        filler = full_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        await fails(client, "No space left", "full")
        filler.unlink()
        await works(client)


async def test_b5_a_redis_that_is_full_or_a_replica_or_hangs() -> None:
    with running(redis_binary()) as server:
        async with shop(session_backend="redis", session_url=server.url, session_timeout=1) as client:
            for broken, mended, words in (
                (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), "out of memory"),
                (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), "read-only replica"),
            ):
                await works(client)
                await asyncio.to_thread(server.ask, *broken)
                await fails(client, words)
                await asyncio.to_thread(server.ask, *mended)
            await works(client)
            server.server.pause()
            try:
                await fails(client, "did not answer", "no answer")
            finally:
                server.server.resume()
            await works(client)
