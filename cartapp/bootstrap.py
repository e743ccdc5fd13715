"""First start: create the secret key, folders, schema and products. Also upgrade the schema."""

import asyncio
import logging
from pathlib import Path
from urllib.parse import unquote

from cartapp.catalogue import BUILT_IN, seed
from cartapp.database.engine import open_database
from cartapp.database.shop import ShopDatabase, WrongSchema, create_shop_database
from cartapp.resources import display_path
from cartapp.session import InvalidStoreURL, StoreUnavailable
from cartapp.session.stores import Store, split_url
from cartapp.session.stores.sql.store import SqlStore, table_sql
from cartapp.settings import Settings, SettingsError, check_workers
from cartapp.settings.env_local import LOCAL, ensure_secret
from cartapp.stores import create_store

logger: logging.Logger = logging.getLogger("cartapp.server")


def prepare(settings: Settings, workers: int = 1) -> tuple[Settings, list[str]]:
    """Create what is missing. Return the settings with a secret, and a message for each thing created.

    Raises `SettingsError`. An unreachable server is no error: requests get 503 until it responds. That of
    `DATABASE_URL` is logged.
    """
    check_workers(settings, workers)
    with_secret = ensure_secret(settings)
    database = open_database(settings)
    store = create_store(with_secret, database)
    created = [] if settings.secret_key else [f"Created a secret key in {LOCAL}."]
    if settings.backend == "file":
        created += _create_folder(settings, store)
    if settings.backend == "database" and settings.session_url:
        _check_session_url(settings, store)
    created += asyncio.run(
        _prepare_database(create_shop_database(settings, database=database, seed=seed(BUILT_IN)))
    )
    return with_secret, created


def _create_folder(settings: Settings, store: Store) -> list[str]:
    folder = Path(unquote(split_url(settings.store_url).path))
    source = settings.store_source if settings.session_url else "CART_SESSION_PATH"
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(0o700, exist_ok=True)
        asyncio.run(_ping(store))
    except OSError as error:
        raise SettingsError(f"{source}: cannot create the folder {folder}: {error.strerror}.") from None
    except StoreUnavailable as error:
        raise SettingsError(f"{source}: {error}") from None
    return [f"Created the session folder {display_path(folder)}."] if missing else []


def _check_session_url(settings: Settings, store: Store) -> None:
    """Connect once: a SQL driver rejects a URL only then."""
    try:
        asyncio.run(_ping(store))
    except InvalidStoreURL as error:
        raise SettingsError(f"{settings.store_source}: {error}") from None
    except StoreUnavailable:
        return


async def _prepare_database(database: ShopDatabase) -> list[str]:
    """Create the schema and the first products."""
    new_file = database.file if database.file and not database.file.exists() else None
    try:
        await database.prepare()
    except WrongSchema as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None
    except InvalidStoreURL as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None
    except StoreUnavailable as error:
        if database.file is not None:
            raise SettingsError(f"DATABASE_URL: {error}") from None
        logger.warning("%s Until it can be used, requests that need accounts or products are 503.", error)
    finally:
        await database.close()
    return [f"Created the database {display_path(new_file)}."] if new_file else []


async def _ping(store: Store) -> None:
    try:
        await store.ping()
    finally:
        await store.close()


async def upgrade_schema(settings: Settings) -> str | None:
    """Upgrade the schema and return its revision. Raises `WrongSchema` and `StoreUnavailable`.

    Also create the session table if sessions are kept in a database, so that the application needs no right
    to create tables. The table has no migration: it belongs to the session library and may be in another
    database.
    """
    engine = open_database(settings)
    database = create_shop_database(settings, database=engine)
    store = create_store(settings, engine)
    try:
        await database.upgrade()
        if isinstance(store, SqlStore):
            await store.create_table()
        return await database.get_revision()
    finally:
        await store.close()
        await database.close()


def schema_sql(settings: Settings, start: str) -> str:
    """Return the SQL of `upgrade_schema` for a database at the revision `start`, or `base` for an empty one.

    The session table has no revisions and is included for `base` only.
    """
    from cartapp.database.upgrades import upgrade_sql  # imports Alembic

    sql = "-- DATABASE_URL\n\n" + upgrade_sql(settings.database_url, start)
    if settings.backend == "database" and start == "base":
        sql += "\n-- CART_SESSION_URL\n\n" + table_sql(settings.store_url)
    return sql
