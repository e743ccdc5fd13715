"""The session store and the session manager that the settings choose."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cartapp.session import (
    CookieOptions,
    InvalidStoreURL,
    IsCurrent,
    KeyRing,
    MissingDriver,
    OnCount,
    SessionManager,
    SessionPolicy,
)
from cartapp.session.stores import Store, open_store
from cartapp.settings import Settings, SettingsError

if TYPE_CHECKING:  # SQLAlchemy is slow to import, and commands on other backends do without
    from cartapp.session.stores.sql.engine import Database


def create_manager(
    settings: Settings,
    store: Store | None = None,
    *,
    is_current: IsCurrent | None = None,
    on_count: OnCount | None = None,
    on_breaker: Callable[[bool], None] | None = None,
) -> SessionManager:
    """Create the session manager; without `store` on that of the settings. Raises `SettingsError`."""
    return SessionManager(
        store or create_store(settings),
        policy=SessionPolicy(
            ttl=settings.session_ttl,
            max_age=settings.session_max_age,
            max_bytes=settings.session_max_bytes,
            timeout=settings.session_timeout,
            eager=settings.session_eager,
            is_current=is_current,
        ),
        cookie=CookieOptions(
            name=settings.session_name,
            same_site=settings.session_samesite,
            http_only=settings.session_httponly,
            secure=settings.session_secure,
            domain=settings.session_cookie_domain,
            path=settings.session_cookie_path,
        ),
        keys=_key_ring(settings) if settings.session_encrypt or settings.backend == "cookie" else None,
        on_count=on_count,
        on_breaker=on_breaker,
    )


@asynccontextmanager
async def open_manager(settings: Settings) -> AsyncIterator[SessionManager]:
    """Create the session manager, and close it at the end of the block."""
    manager = create_manager(settings)
    try:
        yield manager
    finally:
        await manager.close()


def create_store(settings: Settings, database: "Database | None" = None) -> Store:
    """Create the session store, not yet connected and without encryption; on `database` if it is the same.

    Raises `SettingsError` for a URL that the backend rejects, and for a missing driver.
    """
    try:
        if database is not None:
            from cartapp.database.engine import create_session_store

            if (shared := create_session_store(database, settings)) is not None:
                return shared
        return open_store(
            settings.store_url,
            timeout=settings.session_timeout,
            pool_size=settings.session_pool_size,
            max_age=settings.session_max_age,
        )
    except (InvalidStoreURL, MissingDriver) as error:
        raise SettingsError(f"{settings.store_source}: {error}") from None


def _key_ring(settings: Settings) -> KeyRing:
    if not settings.secret_key:
        raise SettingsError("CART_SECRET_KEY: required for encrypted sessions. Run `cart secret --write`.")
    return KeyRing(settings.secret_key, *settings.secret_keys_old)
