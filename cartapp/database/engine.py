"""The SQL engine of `DATABASE_URL`: accounts, catalogue, and sessions kept in the same database."""

from cartapp.session import InvalidStoreURL, MissingDriver
from cartapp.session.stores import Store
from cartapp.session.stores.sql.engine import Database
from cartapp.session.stores.sql.store import SqlStore
from cartapp.settings import Settings, SettingsError


def open_database(settings: Settings, *, timeout: float | None = None) -> Database:
    """Create the engine of `DATABASE_URL`, not yet connected. `timeout` overrides the configured one.

    Raises `SettingsError`.
    """
    try:
        return Database(
            settings.database_url,
            pool_size=settings.session_pool_size,
            timeout=timeout or settings.session_timeout,
        )
    except (InvalidStoreURL, MissingDriver) as error:
        raise SettingsError(f"DATABASE_URL: {error}") from None


def create_session_store(database: Database, settings: Settings) -> Store | None:
    """Create the session store on this engine; return None if sessions are kept elsewhere.

    A second engine on the same database would double the connections, and on SQLite compete for the lock.
    Raises `InvalidStoreURL`.
    """
    if settings.backend != "database" or not database.is_same_as(settings.store_url):
        return None
    return SqlStore(database)
