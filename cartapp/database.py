"""The application's one database: for accounts and catalogue, and for sessions where these are kept in it."""

from .session.errors import InvalidStoreURL, MissingDriver
from .session.stores.base import Store
from .session.stores.engine import Database
from .session.stores.sql import SqlStore
from .settings import Settings, SettingsError


def open_database(settings: Settings) -> Database:
    """The database that `DATABASE_URL` names, not yet connected. Raises `SettingsError`."""
    try:
        return Database(
            settings.database_url, pool_size=settings.session_pool_size, timeout=settings.session_timeout
        )
    except (InvalidStoreURL, MissingDriver) as error:
        raise SettingsError(f"DATABASE_URL cannot be used. {error}") from None


def sessions_in(database: Database, settings: Settings) -> Store | None:
    """The session store on this same database; None where the settings keep sessions elsewhere.

    Two engines on one database would have twice the connections, and on SQLite wait for each other's lock.
    Raises `InvalidStoreURL`.
    """
    if settings.backend != "database" or not database.is_at(settings.store_url):
        return None
    return SqlStore(database)
