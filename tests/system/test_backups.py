"""Backup and restore of each backend, by the commands of docs/backends.md."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import make_url

from cartapp.session.record import now
from cartapp.session.stores import Store, open_store
from tests.support.databases import emptied
from tests.support.polling import STORE_TIMEOUT
from tests.support.requirements import require_program
from tests.support.servers import redis
from tests.support.shop_server import ROOT
from tests.support.stores import HOUR, make_record

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")


@dataclass
class Case:
    """A store, and the commands of the page that back it up and restore it."""

    url: str
    backup: str
    restore: str
    programs: tuple[str, ...]
    folder: Path
    variables: dict[str, str]

    async def run(self, command: str) -> None:
        assert f"`{command}`" in PAGE
        environment = {**os.environ, **self.variables}
        await asyncio.to_thread(
            subprocess.run, ["bash", "-c", command], cwd=self.folder, env=environment, check=True
        )


def _files(folder: Path, backup: str, restore: str, program: str) -> Case:
    return Case(f"file://{folder}/data/sessions", backup, restore, (program,), folder, {})


def rsync(folder: Path, request: pytest.FixtureRequest) -> Case:
    options = "rsync -a --delete --modify-window=-1"
    return _files(folder, f"{options} data/sessions/ copy/", f"{options} copy/ data/sessions/", "rsync")


def tar(folder: Path, request: pytest.FixtureRequest) -> Case:
    restore = "rm -r data/sessions && tar -xf sessions.tar --warning=no-timestamp"
    return _files(folder, "tar -cf sessions.tar data/sessions", restore, "tar")


def sqlite(folder: Path, request: pytest.FixtureRequest) -> Case:
    backup = 'sqlite3 data/cart.db ".backup copy.db"'
    restore = "rm -f data/cart.db-wal data/cart.db-shm && cp copy.db data/cart.db"
    return Case(f"sqlite:///{folder}/data/cart.db", backup, restore, ("sqlite3",), folder, {})


def postgresql(folder: Path, request: pytest.FixtureRequest) -> Case:
    url = emptied(request.getfixturevalue("postgresql_server").url)
    backup = 'pg_dump --format=custom --file=cart.dump "$DATABASE_URL"'
    restore = 'pg_restore --clean --if-exists --dbname="$DATABASE_URL" cart.dump'
    return Case(url, backup, restore, ("pg_dump", "pg_restore"), folder, {"DATABASE_URL": url})


def mariadb(folder: Path, request: pytest.FixtureRequest) -> Case:
    url = emptied(request.getfixturevalue("mariadb_server").url)
    parts = make_url(url)
    assert parts.database == "cart"
    options = (
        "host=127.0.0.1",
        f"port={parts.port}",
        f"user={parts.username}",
        f'password="{parts.password}"',
    )
    (folder / ".my.cnf").write_text("\n".join(("[client]", *options, "")))
    backup, restore = "mariadb-dump --single-transaction cart > cart.sql", "mariadb cart < cart.sql"
    return Case(url, backup, restore, ("mariadb-dump", "mariadb"), folder, {"HOME": str(folder)})


def firebird(folder: Path, request: pytest.FixtureRequest) -> Case:
    url = emptied(request.getfixturevalue("firebird_server").url)
    parts = make_url(url)
    variables = {
        "ISC_USER": str(parts.username),
        "ISC_PASSWORD": str(parts.password),
        "DATABASE": f"127.0.0.1/{parts.port}:{parts.database}",
    }
    backup, restore = 'gbak -b "$DATABASE" cart.fbk', 'gbak -rep cart.fbk "$DATABASE"'
    return Case(url, backup, restore, ("gbak",), folder, variables)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url, timeout=STORE_TIMEOUT)
    yield store
    await store.close()


class Sessions:
    """Sessions before, during and after a backup."""

    def __init__(self) -> None:
        self.alive, self.changed, self.ended_before, self.ended_since, self.new = (
            make_record(now(), expires=now() + HOUR, user_id="ann", data=b'{"n":%d}' % number)
            for number in range(5)
        )

    async def before(self, store: Store) -> None:
        for record in (self.alive, self.changed, self.ended_before, self.ended_since):
            assert await store.create(record) is not None
        assert await store.delete(self.ended_before.key)

    async def since(self, store: Store) -> None:
        stored = await store.load(self.changed.key)
        assert stored is not None
        assert await store.save(replace(stored, data=b"{}"), expected=stored.version) is not None
        assert await store.delete(self.ended_since.key)
        assert await store.create(self.new) is not None

    async def check_restored(self, store: Store) -> None:
        for record in (self.alive, self.changed, self.ended_since):
            found = await store.load(record.key)
            assert found is not None, record.data
            assert replace(found, version=0) == replace(record, version=0)
            assert await store.save(found, expected=found.version) is not None
        assert await store.load(self.ended_before.key) is None
        assert await store.load(self.new.key) is None


@pytest.fixture(params=[rsync, tar, sqlite, postgresql, mariadb, firebird])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    made: Case = request.param(tmp_path, request)
    for program in made.programs:
        require_program(program, f"{program} backs up sessions")
    (tmp_path / "data").mkdir(mode=0o700)
    return made


async def test_backup_and_restore(case: Case) -> None:
    sessions = Sessions()
    async with opened(case.url) as store:
        await sessions.before(store)
        await case.run(case.backup)
        await sessions.since(store)
    await case.run(case.restore)
    async with opened(case.url) as store:
        await sessions.check_restored(store)


async def test_backup_and_restore_of_redis(tmp_path: Path) -> None:
    require_program("redis-cli", "apt-get install redis-tools")
    binary, sessions = redis.redis_binary(), Sessions()
    backup = 'redis-cli -u "$CART_SESSION_URL" --rdb dump.rdb'
    with redis.running(binary, password=redis.PASSWORD) as server:
        url = server.url.replace("://:", "://default:")  # redis-cli needs a user
        case = Case(url, backup, "", ("redis-cli",), tmp_path, {"CART_SESSION_URL": url})
        async with opened(url) as store:
            await sessions.before(store)
            await case.run(backup)
            await sessions.since(store)
    with redis.running(binary, f"dir {tmp_path}") as server:
        async with opened(server.url) as store:
            await sessions.check_restored(store)
