"""What the settings make of the session store: opened, checked, and prepared for the first request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args
from urllib.parse import unquote

from .catalogue import BUILT_IN, seed
from .database import open_database, sessions_in
from .local import LOCAL, ensure_secret
from .revisions import upgrade_sql
from .schema import ShopDatabase, WrongSchema, shop_database
from .session.carriers import CookieCarrier
from .session.errors import InvalidStoreURL, MissingDriver, SessionError, StoreUnavailable
from .session.keys import KeyRing
from .session.probe import Step, ping, round_trip
from .session.sessions import Sessions
from .session.stores import BACKENDS, open_store
from .session.stores.base import Store
from .session.stores.encrypted import EncryptedStore
from .session.stores.engine import Database
from .session.stores.sql import SqlStore, table_sql
from .session.stores.urls import split_url
from .session.transfer import Copied, copy_sessions
from .settings import Backend, Settings, SettingsError, check_workers, choice_of_store, load

# Stores that a ping would make, and that always answer: so they are asked only when they are used.
_LOCAL_SCHEMES = ("file", "memory", "cookie", "sqlite")


@dataclass(frozen=True, slots=True)
class BackendState:
    """A backend as `cart backends list` shows it."""

    name: str
    used: bool
    built: bool
    """Whether this version has it."""
    installed: bool
    """Whether its driver is there."""
    milliseconds: float | None
    """What a ping took; None when there was no answer, or nobody was asked."""
    remark: str


def store_of(settings: Settings, database: Database | None = None) -> Store:
    """The session store that the settings choose, not yet connected; on `database` where that is the place.

    Raises `SettingsError` for one that this version does not have, or whose driver is missing.
    """
    store = _bare_store(settings, database)
    if settings.session_encrypt and settings.backend != "cookie":
        return EncryptedStore(store, _key_ring(settings))
    return store


def _bare_store(settings: Settings, database: Database | None) -> Store:
    variable = "CART_SESSION_URL" if settings.session_url else "CART_SESSION_BACKEND"
    built = [backend.name for backend in BACKENDS]
    if settings.backend not in built:
        raise SettingsError(
            f"{variable} chooses {settings.backend}, which this version does not have: "
            f"it must choose {' or '.join(built)}."
        )
    try:
        store = sessions_in(database, settings) if database else None
        return store or open_store(
            settings.store_url,
            timeout=settings.session_timeout,
            pool_size=settings.session_pool_size,
            max_age=settings.session_max_age,
        )
    except (InvalidStoreURL, MissingDriver) as error:
        raise SettingsError(f"{variable} cannot be used. {error}") from None


async def upgrade_schema(settings: Settings) -> str | None:
    """Bring the schema up to date and return its revision; raises `WrongSchema` and `StoreUnavailable`.

    Sessions that are kept in a database get their table, too, so that the application needs no right to make
    it. It is no migration: it belongs to the session library, and may be in another database.
    """
    engine = open_database(settings)
    database = shop_database(settings, database=engine)
    store = _bare_store(settings, engine)
    try:
        await database.upgrade()
        if isinstance(store, SqlStore):
            await store.create_table()
        return await database.revision()
    finally:
        await store.close()
        await database.close()


def schema_sql(settings: Settings, start: str) -> str:
    """The SQL of all that `upgrade_schema` does to a database at the revision `start`, or `base`.

    The table of sessions has no revisions, so it is left out where the database is at one.
    """
    sql = "-- DATABASE_URL\n\n" + upgrade_sql(settings.database_url, start)
    if settings.backend == "database" and start == "base":
        sql += "\n-- CART_SESSION_URL\n\n" + table_sql(settings.store_url)
    return sql


def carrier_of(settings: Settings) -> CookieCarrier | None:
    """What carries the record in the cookie itself, where the settings choose so. Raises `SettingsError`."""
    if settings.backend != "cookie":
        return None
    return CookieCarrier(_key_ring(settings), settings.session_name)


def _key_ring(settings: Settings) -> KeyRing:
    if not settings.secret_key:
        raise SettingsError(
            "CART_SECRET_KEY must be set to encrypt sessions; `cart secret --write` makes one."
        )
    return KeyRing(settings.secret_key, *settings.secret_keys_old)


@asynccontextmanager
async def opened_sessions(settings: Settings) -> AsyncIterator[Sessions]:
    """The sessions of the store that the settings choose, seen from another process than the server's.

    Raises `SettingsError`, also for a store that only the server itself can see.
    """
    if settings.backend == "memory":
        raise SettingsError(
            "CART_SESSION_BACKEND is memory, whose sessions nobody but the server itself can see: "
            "it must be another backend for this."
        )
    check_place(settings.store_url, "CART_SESSION_URL" if settings.session_url else "CART_SESSION_BACKEND")
    async with _opened(settings) as store:
        yield Sessions(store)


def check_place(url: str, variable: str) -> None:
    """Raises `SettingsError` when sessions or users are to be on this host and nothing is there.

    In the wrong folder a command would make an empty shop, and say of that what it should say of another one.
    """
    parts = split_url(url)
    path = Path(unquote(parts.path if parts.scheme == "file" else parts.path[1:]))
    if not parts.scheme.startswith(("file", "sqlite")):
        return
    try:
        path.stat()
    except FileNotFoundError:
        raise SettingsError(
            f"There is no shop here: {_shown(path.absolute())}, from {variable}, does not exist. "
            "Change to the shop's folder, or make one with `cart serve`."
        ) from None
    except OSError:
        return  # what uses it says what is wrong with it


async def copy_between(source: str, target: str, progress: Callable[[Copied], None]) -> Copied:
    """Copy the live sessions of one backend, by name or URL, to another; see `copy_sessions`.

    Raises `SettingsError`, `StoreNotSupported` where the source cannot list, and `StoreUnavailable`.
    """
    chosen = [load(choice_of_store(name)) for name in (source, target)]
    for settings in chosen:
        if settings.backend in ("memory", "cookie"):
            raise SettingsError(
                f"Sessions cannot be copied from or to {settings.backend}: "
                "they are in the server's memory, or in the browsers."
            )
    if chosen[0].store_url == chosen[1].store_url:
        raise SettingsError("The two backends must differ: these are one and the same store.")
    check_place(chosen[0].store_url, "FROM")
    async with _opened(chosen[0]) as origin, _opened(chosen[1]) as destination:
        return await copy_sessions(origin, destination, progress=progress)


async def check_store(settings: Settings) -> list[Step]:
    """A real round trip. Raises `SettingsError`, and `StoreUnavailable` when it fails."""
    async with _opened(settings) as store:
        return await round_trip(store, timeout=settings.session_timeout)


async def backend_states(settings: Settings) -> list[BackendState]:
    """All backends, in the order of the documentation; those that may answer are asked."""
    # All are opened before one is asked: a driver's import would take the time that others have to answer.
    opened = [_open(name, settings) for name in get_args(Backend)]
    return await asyncio.gather(*(_asked(*one) for one in opened))


def _open(name: str, settings: Settings) -> tuple[BackendState, Store | None, float]:
    """A backend's state as far as it is known without asking, and what is to be asked within the time-out."""
    used = name == settings.backend
    backend = next((backend for backend in BACKENDS if backend.name == name), None)

    def known(installed: bool, remark: str) -> tuple[BackendState, None, float]:
        return BackendState(name, used, backend is not None, installed, None, remark), None, 0

    if backend is None:
        return known(False, "not in this version")
    if not backend.installed:
        return known(False, backend.install_line)
    try:
        theirs = settings if used else load(choice_of_store(name))
        if not used and split_url(theirs.store_url).scheme.startswith(_LOCAL_SCHEMES):
            return known(True, "needs no server")
        state = BackendState(name, used, True, True, None, "answers")
        return state, store_of(theirs), theirs.session_timeout
    except (SettingsError, SessionError) as error:
        return known(True, str(error))


async def _asked(state: BackendState, store: Store | None, timeout: float) -> BackendState:
    if store is None:
        return state
    try:
        return replace(state, milliseconds=await ping(store, timeout=timeout))
    except SessionError as error:
        return replace(state, remark=str(error))
    finally:
        await store.close()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    """The settings' own store, as long as the block runs."""
    store = store_of(settings)
    try:
        yield store
    finally:
        await store.close()


def prepare(settings: Settings, workers: int = 1) -> tuple[Settings, list[str]]:
    """Make what is missing; returns the settings with a secret, and a line for each thing that was made.

    Raises `SettingsError`. A server out of reach is no error here: requests get 503 until it is back.
    """
    check_workers(settings, workers)
    with_secret = ensure_secret(settings)
    database = open_database(settings)
    store = store_of(with_secret, database)
    made = [] if settings.secret_key else [f"A secret key was made and kept in {LOCAL}."]
    if settings.backend == "file":
        made += _make_folder(settings, store)
    if settings.backend == "database" and settings.session_url:
        _check_url(store)
    made += asyncio.run(_prepare_database(shop_database(settings, database=database, seed=seed(BUILT_IN))))
    return with_secret, made


def _make_folder(settings: Settings, store: Store) -> list[str]:
    folder = Path(unquote(split_url(settings.store_url).path))
    variable = "CART_SESSION_URL" if settings.session_url else "CART_SESSION_PATH"
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(0o700, exist_ok=True)
        asyncio.run(_try(store))
    except OSError as error:
        raise SettingsError(f"{variable} must name a folder that can be made: {error.strerror}.") from None
    except StoreUnavailable as error:
        raise SettingsError(f"{variable} must name a folder that can be used. {error}") from None
    return [f"The folder {_shown(folder)} was made for the sessions."] if missing else []


def _check_url(store: Store) -> None:
    """A SQL driver says only when it connects that it cannot take the URL."""
    try:
        asyncio.run(_try(store))
    except InvalidStoreURL as error:
        raise SettingsError(f"CART_SESSION_URL cannot be used. {error}") from None
    except StoreUnavailable:
        return  # out of reach, which is no error here


async def _prepare_database(database: ShopDatabase) -> list[str]:
    """The schema, and the first products."""
    new_file = database.file if database.file and not database.file.exists() else None
    try:
        await database.prepare()
    except WrongSchema as error:
        raise SettingsError(f"DATABASE_URL must name a database of this version. {error}") from None
    except InvalidStoreURL as error:
        raise SettingsError(f"DATABASE_URL cannot be used. {error}") from None
    except StoreUnavailable as error:
        if database.file is not None:
            raise SettingsError(f"DATABASE_URL must name a file that can be used. {error}") from None
    finally:
        await database.close()
    return [f"The database {_shown(new_file)} was made for users and products."] if new_file else []


def _shown(path: Path) -> Path:
    """The path as seen from the working directory, where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


async def _try(store: Store) -> None:
    try:
        await store.ping()
    finally:
        await store.close()
