"""`/readyz` predicts whether requests succeed, on real servers with partial failures."""

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
from sqlalchemy import Connection, func, make_url, select

from cartapp.accounts.tables import ATTEMPTS
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import TABLE
from tests.support.databases import DATABASES
from tests.support.polling import poll_until
from tests.support.requirements import skip_or_fail
from tests.support.schema import with_schema
from tests.support.servers.mariadb import global_variables
from tests.support.servers.proxy import Proxy
from tests.support.servers.redis import redis_binary, running
from tests.support.servers.sql import PASSWORD, SqlServer
from tests.support.shop import HUB, shop

pytestmark = pytest.mark.anyio

READY = (200, {"status": "ready"})


async def status(client: httpx.AsyncClient) -> tuple[int, Any]:
    response = await client.get("/readyz")
    return response.status_code, response.json()


async def wait_for_status(client: httpx.AsyncClient, expected: int) -> Any:
    """Wait for the status; return the response body."""

    async def has_status() -> bool:
        return (await status(client))[0] == expected

    await poll_until(has_status)
    return (await status(client))[1]


async def assert_fails(client: httpx.AsyncClient, *reasons: str) -> None:
    """Check that the shop is not ready for one of the reasons, and that a request fails."""
    body = await wait_for_status(client, 503)
    assert body["error"].startswith("Not ready: the ")
    assert any(reason in detail for reason in reasons for detail in body["details"]), body
    client.cookies.clear()
    assert (await client.post("/api/cart/add", json=HUB)).status_code == 503


async def assert_works(client: httpx.AsyncClient) -> None:
    await wait_for_status(client, 200)
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


async def test_b5_check_leaves_no_rows_and_is_shared(postgresql: str) -> None:
    async with in_database(postgresql) as client:
        responses = await asyncio.gather(*(status(client) for _ in range(50)))
    assert responses == [READY] * 50

    def rows(connection: Connection) -> list[int | None]:
        tables = (TABLE, ATTEMPTS)
        return [connection.scalar(select(func.count()).select_from(table)) for table in tables]

    assert await asyncio.to_thread(_run, postgresql, rows) == [0, 0]


async def test_concurrent_requests_share_a_check_of_a_hanging_database(
    postgresql: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = make_url(postgresql).port
    assert port is not None
    async with Proxy(port) as proxy:
        url = make_url(postgresql).set(port=proxy.port).render_as_string(hide_password=False)
        async with shop(session_backend="memory", database_url=url) as client:
            await assert_works(client)
            proxy.answers_for(0, hang=True)
            await wait_for_status(client, 503)
            caplog.clear()
            codes = [code for code, _ in await asyncio.gather(*(status(client) for _ in range(50)))]
            assert codes == [503] * 50
            assert len([one for one in caplog.messages if one.startswith("Not ready: ")]) <= 1
            proxy.heal()
            await assert_works(client)


async def test_b5_read_only_postgresql(postgresql: str) -> None:
    async with in_database(postgresql) as client:
        await assert_works(client)
        await asyncio.to_thread(set_read_only, postgresql, True)
        try:
            await assert_fails(client, "read-only transaction")
        finally:
            await asyncio.to_thread(set_read_only, postgresql, False)
        await assert_works(client)


def set_read_only(url: str, on: bool) -> None:
    """Set the default for all further transactions, including those of open connections."""

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


async def test_b5_read_only_mariadb(mariadb: str, mariadb_server: SqlServer) -> None:
    async with in_database(mariadb) as client:
        await assert_works(client)
        context = global_variables(mariadb_server, read_only=1)
        await asyncio.to_thread(context.__enter__)
        try:
            await assert_fails(client, "read-only")
        finally:
            await asyncio.to_thread(context.__exit__, None, None, None)
        await assert_works(client)


@pytest.mark.parametrize("table", ["cart_attempt", "cart_remember_me", "cart_product"])
async def test_b5_missing_table(postgresql: str, table: str) -> None:
    async with in_database(postgresql) as client:
        await assert_works(client)
        await asyncio.to_thread(execute, postgresql, f"ALTER TABLE {table} RENAME TO away")
        try:
            body = await wait_for_status(client, 503)
            assert body["error"] == "Not ready: the database of accounts and products cannot be used"
            assert f'"{table}" does not exist' in body["details"][0]
        finally:
            await asyncio.to_thread(execute, postgresql, f"ALTER TABLE away RENAME TO {table}")
        await assert_works(client)


async def test_b5_missing_privilege(mariadb: str) -> None:
    """The application's role may read sessions but not change them."""
    role = "app2@'127.0.0.1'"
    admin = mariadb.replace("//cart:", "//admin:")
    create_role = f"CREATE USER {role} IDENTIFIED BY '{PASSWORD.replace('%', '%%')}'"
    await asyncio.to_thread(execute, admin, create_role, f"GRANT ALL ON cart.* TO {role}")
    async with in_database(mariadb.replace("//cart:", "//app2:")) as client:
        await assert_works(client)
    rights = "REVOKE ALL ON cart.* FROM", "GRANT SELECT ON cart.* TO", "GRANT ALL ON cart.* TO"
    async with in_database(mariadb.replace("//cart:", "//app2:")) as client:
        await asyncio.to_thread(execute, admin, *(f"{right} {role}" for right in rights[:2]))
        await assert_fails(client, "command denied")
        await asyncio.to_thread(execute, admin, f"{rights[2]} {role}")
        await assert_works(client)


@pytest.mark.parametrize(("registration", "code"), [("open", 503), ("closed", 200)])
async def test_right_to_insert_users_is_needed_for_open_registration(
    mariadb: str, registration: str, code: int
) -> None:
    role = "app3@'127.0.0.1'"
    admin = mariadb.replace("//cart:", "//admin:")
    inserts = ("cart_login", "cart_remember_me", "cart_attempt", "cart_session")
    async with in_database(mariadb) as client:
        await assert_works(client)  # the tables of sessions and products exist from here on
    await asyncio.to_thread(
        execute,
        admin,
        f"CREATE OR REPLACE USER {role} IDENTIFIED BY '{PASSWORD.replace('%', '%%')}'",
        f"GRANT SELECT, UPDATE, DELETE, CREATE ON cart.* TO {role}",
        *(f"GRANT INSERT ON cart.{table} TO {role}" for table in inserts),
    )
    async with in_database(mariadb.replace("//cart:", "//app3:"), registration=registration) as client:
        body = await wait_for_status(client, code)
    assert code == 200 or "INSERT command denied" in body["details"][0]


async def test_b5_deleted_and_restored_database_file(tmp_path: Path) -> None:
    file, backup = tmp_path / "cart.db", tmp_path / "backup.db"
    async with in_database(f"sqlite:///{file}") as client:
        await assert_works(client)
        connection = sqlite3.connect(file)
        connection.execute(f"VACUUM INTO '{backup}'")
        connection.close()
        for one in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            one.unlink(missing_ok=True)
        await assert_fails(client, "No such file or directory")
        account = {"name": "A", "email": "a@example.com", "password": "a long phrase of mine"}
        assert (await client.post("/register", json=account)).status_code == 503
        assert not file.exists()
        backup.rename(file)
        await assert_works(client)
        assert (await client.post("/register", json=account)).status_code == 201


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
    if mounted.returncode:
        skip_or_fail("mount", "this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("backend", ["file", "database"])
async def test_b5_full_disk(full_disk: Path, backend: str) -> None:
    url = f"sqlite:///{full_disk}/cart.db"
    settings = {"session_path": f"{full_disk}/sessions"} if backend == "file" else {"session_url": url}
    async with shop(session_backend=backend, database_url=url, **settings) as client:
        await assert_works(client)
        filler = full_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        await assert_fails(client, "No space left", "full")
        filler.unlink()
        await assert_works(client)


async def test_b5_redis_full_or_replica_or_hanging() -> None:
    with running(redis_binary()) as server:
        async with shop(session_backend="redis", session_url=server.url, session_timeout=3) as client:
            for fault, repair, words in (
                (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), "out of memory"),
                (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), "read-only replica"),
            ):
                await assert_works(client)
                await asyncio.to_thread(server.execute, *fault)
                await assert_fails(client, words)
                await asyncio.to_thread(server.execute, *repair)
            await assert_works(client)
            server.server.pause()
            try:
                await assert_fails(client, "did not respond", "no answer", "no response")
            finally:
                server.server.resume()
            await assert_works(client)
