"""The application's one database, for accounts and for sessions at the same time."""

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
from cartapp.database import open_database, sessions_in
from cartapp.session.errors import StoreUnavailable
from cartapp.session.record import now
from cartapp.session.stores import engine
from cartapp.session.stores.encrypted import EncryptedStore
from cartapp.session.stores.engine import Database
from cartapp.session.stores.sql import SqlStore
from cartapp.settings import Settings, SettingsError
from cartapp.start import store_of

from .databases import DATABASES, with_schema
from .shop import ALICE, KEYBOARD, browser
from .store_workers import ended
from .stores import make_record
from .waiting import DEADLINE
from .workers import answer, piped, processes

pytestmark = pytest.mark.anyio

SECRET = "mZ4pQ8sT1vW7yB3eH6kN9rU2xA5dG0jL_-cFiXoYqEw"
SHOPPERS = 4
"""Users of each worker, all at once."""


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
async def test_sessions_share_the_engine_of_the_accounts_where_the_place_is_one(
    of_sessions: dict[str, str], is_shared: bool, tmp_path: Path
) -> None:
    chosen = settings(
        database_url=f"sqlite+aiosqlite:///{tmp_path}/cart.db",
        session_path=str(tmp_path / "sessions"),
        **{name: value.format(folder=tmp_path) for name, value in of_sessions.items()},
    )
    database = open_database(chosen)
    store = store_of(chosen, database)
    assert (getattr(store, "_database", None) is database) is is_shared
    assert (sessions_in(database, chosen) is not None) is is_shared
    await store.close()
    await database.close()


async def test_encrypted_sessions_share_it_too(tmp_path: Path) -> None:
    chosen = settings(
        session_backend="database",
        session_encrypt=True,
        secret_key=SECRET,
        database_url=f"sqlite:///{tmp_path}/cart.db",
    )
    database = open_database(chosen)
    store = store_of(chosen, database)
    assert isinstance(store, EncryptedStore)
    assert store._store._database is database  # type: ignore[attr-defined]
    await store.close()


async def test_the_application_has_one_pool_of_connections(postgresql_server: Any) -> None:
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
    assert connections == 2 + 1  # the one that asks
    await other.close()


def test_a_database_that_cannot_be_used_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL cannot be used\. A SQLite URL must name a file"):
        open_database(settings(database_url="sqlite://"))


# -- closed, and used again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", DATABASES)
def test_several_lifespans_each_on_an_event_loop_of_its_own(
    engine: str, request: pytest.FixtureRequest
) -> None:
    app = shop_on(with_schema(DATABASES[engine](request)))

    async def live(number: int) -> None:
        async with app.router.lifespan_context(app), browser(app) as client:
            user = {**ALICE, "email": f"alice{number}@example.com"}
            calls = [client.post("/register", json=user), *(client.get("/visit-counter") for _ in range(5))]
            answers = await asyncio.gather(*calls)
            assert [answer.status_code for answer in answers] == [201] + [200] * 5

    for number in range(3):
        asyncio.run(live(number))
    gc.collect()  # a connection that was not closed would warn now, and a warning is an error


async def test_a_database_that_was_closed_connects_again(tmp_path: Path) -> None:
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
async def test_b8_a_file_that_is_gone_is_an_outage_of_the_shop(tmp_path: Path, backend: str) -> None:
    """`rm -rf data` under a running server: no registration is accepted that nobody would keep."""
    folder = tmp_path / "data"
    app = create_app(settings(session_backend=backend, database_url=f"sqlite:///{folder}/cart.db"))
    async with app.router.lifespan_context(app), browser(app) as client:
        assert (await client.post("/register", json=ALICE)).status_code == 201
        shutil.rmtree(folder)
        for number in range(3):
            user = {**ALICE, "email": f"alice{number}@example.com"}
            assert (await client.post("/register", json=user)).status_code == 503
        assert not folder.exists()


async def test_work_that_nobody_else_ends_is_given_up_unless_it_may_take_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_LAST_RESORT", 0.05)
    database = Database(f"sqlite:///{tmp_path}/cart.db")
    done = threading.Event()
    patient = asyncio.create_task(database.run(lambda _: done.wait(DEADLINE), patient=True))
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await database.read(lambda _: done.wait(DEADLINE))
    done.set()
    assert await patient
    assert await database.read(lambda _: 1) == 1
    await database.close()


async def test_work_that_may_take_any_time_waits_as_long_for_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cart.db"
    database, other = Database(url, timeout=0.05), Database(url)
    begun, done = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(done.wait(), loop).result(DEADLINE)

    holding = asyncio.create_task(other.run(hold))
    await begun.wait()
    waiting = asyncio.create_task(database.run(lambda connection: 1, patient=True))
    with pytest.raises(StoreUnavailable, match="database is locked"):
        await database.run(lambda connection: 1)
    assert not waiting.done()
    done.set()
    await holding
    assert await waiting == 1
    await database.close()
    await other.close()


# -- many workers at once -----------------------------------------------------------------------------------


def shop_all_at_once(url: str, number: int, told: Pipe) -> None:
    """One worker: when told to, users register, fill their carts and log out, all at the same time."""

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
        # Time enough for a busy machine: it is locks that must not fail.
        app = shop_on(url, login_limit="10000/minute", session_timeout=20)
        told.send("ready")
        told.recv()
        async with app.router.lifespan_context(app):
            found = await asyncio.gather(*(shop(app, f"user{number}-{one}") for one in range(SHOPPERS)))
        told.send([status for statuses in found for status in statuses])

    asyncio.run(run())


processes.set_forkserver_preload([__name__])


@pytest.mark.parametrize(("engine", "number"), [(name, 10 if name == "sqlite" else 3) for name in DATABASES])
async def test_workers_start_at_once_and_accounts_write_beside_sessions(
    engine: str, number: int, request: pytest.FixtureRequest
) -> None:
    """No lock that another holds becomes an error. On SQLite they also make file, schema and tables."""
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
