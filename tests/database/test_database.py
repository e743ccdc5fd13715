"""The shared database of accounts and sessions."""

import asyncio
import gc
import shutil
import threading
from collections import Counter
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import text

from cartapp.app import create_app
from cartapp.database.engine import create_session_store, open_database
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import now
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from cartapp.session.stores.wrappers.encryption import EncryptedStore
from cartapp.settings import Settings, SettingsError
from cartapp.stores import create_manager, create_store
from tests.support.databases import DATABASES
from tests.support.polling import DEADLINE
from tests.support.schema import with_schema
from tests.support.shop import ALICE, KEYBOARD, browser
from tests.support.store_workers import ended
from tests.support.stores import make_record
from tests.support.workers import answer, piped, processes

pytestmark = pytest.mark.anyio

SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
SHOPPERS = 4
"""Concurrent users per worker."""


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


def shop_on(url: str, **given: Any) -> FastAPI:
    """The application with everything in one database."""
    return create_app(Settings(session_backend="database", database_url=url, **given))


# -- one engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_sessions", "is_shared"),
    [
        ({"session_backend": "database"}, True),
        ({"session_url": "sqlite:///{folder}/cart.db"}, True),
        ({"session_url": "sqlite+pysqlite:///{folder}/cart.db"}, True),
        ({"session_url": "sqlite:///{folder}/sessions.db"}, False),
        ({"session_backend": "file"}, False),
        ({"session_backend": "memory"}, False),
    ],
)
async def test_sessions_in_the_same_database_share_the_engine(
    of_sessions: dict[str, str], is_shared: bool, tmp_path: Path
) -> None:
    chosen = settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/cart.db",
        session_path=str(tmp_path / "sessions"),
        **{name: value.format(folder=tmp_path) for name, value in of_sessions.items()},
    )
    database = open_database(chosen)
    store = create_store(chosen, database)
    assert (getattr(store, "_database", None) is database) is is_shared
    assert (create_session_store(database, chosen) is not None) is is_shared
    await store.close()
    await database.close()


async def test_encrypted_sessions_share_the_engine(tmp_path: Path) -> None:
    chosen = settings(
        session_backend="database",
        session_encrypt=True,
        secret_key=SECRET,
        database_url=f"sqlite:///{tmp_path}/cart.db",
    )
    database = open_database(chosen)
    store = create_manager(chosen, create_store(chosen, database)).store
    assert isinstance(store, EncryptedStore)
    assert store._store._database is database  # type: ignore[attr-defined]
    await store.close()


async def test_application_has_one_connection_pool(postgresql_server: Any) -> None:
    url = await asyncio.to_thread(with_schema, postgresql_server.url)
    app = shop_on(url, session_pool_size=2)
    other = Database(url, timeout=20)
    async with app.router.lifespan_context(app):
        shoppers = [browser(app) for _ in range(10)]
        added = (one.post("/api/cart/add", json=KEYBOARD) for one in shoppers)
        pages = (one.get("/") for one in shoppers)
        answers = await asyncio.gather(*added, *pages)
        assert {answer.status_code for answer in answers} == {200}
        ((connections,),) = await other.fetch(
            text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        )
    assert connections == 2 + 1  # the connection of this query
    await other.close()


def test_database_errors_name_the_variable() -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: A SQLite URL must name a file"):
        open_database(settings(database_url="sqlite://"))


# -- closed, and used again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", DATABASES)
def test_several_lifespans_on_separate_event_loops(engine: str, request: pytest.FixtureRequest) -> None:
    app = shop_on(with_schema(DATABASES[engine](request)))

    async def live(number: int) -> None:
        async with app.router.lifespan_context(app), browser(app) as client:
            user = {**ALICE, "email": f"alice{number}@example.com"}
            calls = [client.post("/register", json=user), *(client.get("/visit-counter") for _ in range(5))]
            answers = await asyncio.gather(*calls)
            assert [answer.status_code for answer in answers] == [201] + [200] * 5

    for number in range(3):
        asyncio.run(live(number))
    gc.collect()  # an unclosed connection warns now, and warnings are errors


async def test_closed_database_reconnects(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/cart.db")
    store = SqlStore(database)
    record = make_record(now())
    await store.create(record)
    await store.close()
    assert len(await database.fetch(text("SELECT skey FROM cart_session"))) == 1
    await database.close()
    await database.close()
    assert await store.load(record.key) is not None
    await store.close()


@pytest.mark.parametrize("backend", ["memory", "database"])
async def test_b8_removed_database_file_is_an_outage(tmp_path: Path, backend: str) -> None:
    """`rm -rf data` under a running server: a registration that would be lost is rejected."""
    folder = tmp_path / "data"
    app = create_app(settings(session_backend=backend, database_url=f"sqlite:///{folder}/cart.db"))
    async with app.router.lifespan_context(app), browser(app) as client:
        assert (await client.post("/register", json=ALICE)).status_code == 201
        shutil.rmtree(folder)
        for number in range(3):
            user = {**ALICE, "email": f"alice{number}@example.com"}
            assert (await client.post("/register", json=user)).status_code == 503
        assert not folder.exists()


async def test_slow_transaction_times_out_unless_unbounded(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/cart.db", timeout=0.2)
    done = threading.Event()
    unbounded = asyncio.create_task(database.run(lambda _: done.wait(DEADLINE), unbounded=True))
    with pytest.raises(StoreUnavailable, match="did not respond"):
        await database.read(lambda _: done.wait(DEADLINE))
    done.set()
    assert await unbounded
    assert await database.read(lambda _: 1) == 1
    await database.close()


async def test_unbounded_transaction_waits_for_a_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cart.db"
    database, other = Database(url, timeout=0.05), Database(url)
    begun, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(done.wait(), loop).result(DEADLINE)

    holding = asyncio.create_task(other.run(hold))
    await begun.wait()
    waiting = asyncio.create_task(database.run(lambda connection: 1, unbounded=True))
    with pytest.raises(StoreUnavailable, match=r"database is locked|did not respond"):
        await database.run(lambda connection: 1)
    assert not waiting.done()
    done.set()
    await holding
    assert await waiting == 1
    await database.close()
    await other.close()


# -- many workers at once -----------------------------------------------------------------------------------


def shop_all_at_once(url: str, number: int, pipe: Pipe) -> None:
    """Worker process: on a signal, users register, fill their carts and log out concurrently."""

    async def shop(app: FastAPI, name: str) -> list[int]:
        async with browser(app) as client:
            user = {**ALICE, "email": f"{name}@example.com"}
            answers = [await client.post("/register", json=user)]
            for quantity in range(1, 6):
                added = client.post("/api/cart/add", json={**KEYBOARD, "product_id": quantity})
                answers += await asyncio.gather(added, client.get("/visit-counter"), client.get("/dashboard"))
            answers.append(await client.post("/logout", json={}))
            return [answer.status_code for answer in answers]

    async def run() -> None:
        # Long timeouts for a busy machine: only lock errors count.
        app = shop_on(url, login_limit="10000/minute", session_timeout=20)
        pipe.send("ready")
        pipe.recv()
        async with app.router.lifespan_context(app):
            found = await asyncio.gather(*(shop(app, f"user{number}-{one}") for one in range(SHOPPERS)))
        pipe.send([status for statuses in found for status in statuses])

    asyncio.run(run())


processes.set_forkserver_preload([__name__])


@pytest.mark.parametrize(("engine", "number"), [(name, 10 if name == "sqlite" else 3) for name in DATABASES])
async def test_concurrent_workers_write_accounts_and_sessions(
    engine: str, number: int, request: pytest.FixtureRequest
) -> None:
    """Locks of other processes cause no error. On SQLite the workers also create file, schema and tables."""
    url = await asyncio.to_thread(lambda: with_schema(DATABASES[engine](request)))
    workers = [piped(shop_all_at_once, url, name) for name in range(number)]
    assert [await asyncio.to_thread(answer, pipe) for _, pipe in workers] == ["ready"] * number
    for _, pipe in workers:
        pipe.send("go")
    statuses = Counter[int]()
    for _, pipe in workers:
        statuses.update(await asyncio.to_thread(answer, pipe))
    assert await ended([worker for worker, _ in workers]) == [0] * number
    people = number * SHOPPERS
    assert statuses == {201: people, 200: people * 16}
