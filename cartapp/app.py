"""The only place that wires things together."""

import gc
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from cartapp.accounts import Accounts, Limit
from cartapp.catalogue import BUILT_IN, Catalogue, seed
from cartapp.database import open_database
from cartapp.local import ensure_secret
from cartapp.schema import shop_database
from cartapp.session import CookieOptions, SessionMiddleware, Sessions
from cartapp.session.carriers import Carrier, IdCarrier
from cartapp.session.guard import GuardedStore
from cartapp.session.policy import Policy
from cartapp.session.stores.base import Purgeable
from cartapp.session.sweeper import Sweeper
from cartapp.settings import Settings, load
from cartapp.start import carrier_of, store_of
from cartapp.web import errors, static, users
from cartapp.web.application import Application
from cartapp.web.layers.body_limit import BodyLimit
from cartapp.web.layers.catch_all import CatchAll
from cartapp.web.layers.cookie_limit import CookieLimit
from cartapp.web.layers.cross_origin import CrossOriginCheck
from cartapp.web.layers.forwarded import ForwardedHeaders
from cartapp.web.layers.head import Head
from cartapp.web.layers.remember_me import RememberMe
from cartapp.web.layers.security_headers import SecurityHeaders
from cartapp.web.readiness import Readiness
from cartapp.web.routes import (
    accounts_entry,
    accounts_own,
    cart_api,
    docs,
    health,
    language_api,
    session_api,
    shop_pages,
)
from cartapp.web.watchers import Watchers

API_VERSION = "1.0"
"""Of the HTTP interface, not of the package."""

ROUTERS: tuple[APIRouter, ...] = (  # those first that are asked most, since each is tried in turn
    cart_api.router,
    session_api.router,
    health.router,
    language_api.router,
    shop_pages.router,
    accounts_entry.router,
    accounts_own.pages,
    accounts_own.api,
    docs.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without `settings` they are read from the environment; raises `SettingsError`."""
    settings = settings or ensure_secret(load())
    engine = open_database(settings)
    watchers = Watchers(settings)
    bare = store_of(settings, engine)
    store = watchers.round(bare)
    guarded = GuardedStore(store, settings.session_timeout, on_change=watchers.on_breaker)
    carrier = carrier_of(settings) or IdCarrier(guarded)
    database = shop_database(settings, database=engine, seed=seed(BUILT_IN))
    accounts = Accounts(
        database,
        limit=Limit(settings.login_limit.count, settings.login_limit.seconds),
        session_age=settings.session_max_age,
    )
    app = Application(
        title="cartapp",
        version=API_VERSION,
        description="A shopping cart on a session layer that keeps every change.",
        openapi_url=None,  # the document and its page are routes of our own, with assets of our own
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the logs are our own
        middleware=_layers(settings, carrier, accounts, watchers),
        lifespan=_lifespan,
    )
    app.state.settings, app.state.store, app.state.sessions = settings, store, Sessions(store)
    app.state.database, app.state.accounts, app.state.catalogue = database, accounts, Catalogue(database)
    app.state.readiness = Readiness(guarded, bare, accounts, app.state.catalogue)
    errors.install(app)
    users.install(app)
    for router in ROUTERS:
        # One flat list: an included router is matched twice a request and hides its methods from `Allow`.
        app.router.routes.extend(router.routes)
    app.state.session_cookie = cookie = _cookie(settings)
    policy = Policy(**_limits(settings), is_current=accounts.is_current)
    watchers.install(app, carrier, cookie, policy)
    app.mount("/static", static.CachedStaticFiles())
    return app


def serve_app() -> FastAPI:
    """The application for a process that does nothing else, as `cart serve` runs it."""
    app = create_app()
    _end_with_parent()
    # What is there now stays for good. Without this the garbage collector looks at all of it again and
    # again, which holds up every request for a tenth of a second. And as requests make no cycles, it need not
    # look at a few of them every few milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    return app


def _end_with_parent() -> None:
    """Stop this process as SIGTERM would when the one that started it is gone, even if that was killed.

    A worker without its parent would hold the port for good.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

        Thread(target=watch, name="watch of the parent", daemon=True).start()


def _layers(settings: Settings, carrier: Carrier, accounts: Accounts, watchers: Watchers) -> list[Middleware]:
    """The layers around the router, the outermost first."""
    return [
        Middleware(ForwardedHeaders, trusted=settings.trusted_proxies),
        Middleware(SecurityHeaders, hsts=settings.production),
        Middleware(CatchAll),
        Middleware(BodyLimit),
        Middleware(CookieLimit),
        Middleware(CrossOriginCheck, trusted=settings.trusted_origins),
        Middleware(RememberMe, secure=settings.session_secure),
        Middleware(
            SessionMiddleware,
            **_limits(settings),
            load="explicit",
            carrier=carrier,
            cookie=_cookie(settings),
            is_current=accounts.is_current,
            error_response=errors.session_error_response,
            on_count=watchers.on_count,
        ),
        Middleware(Head),
    ]


def _cookie(settings: Settings) -> CookieOptions:
    return CookieOptions(
        name=settings.session_name,
        same_site=settings.session_samesite,
        http_only=settings.session_httponly,
        secure=settings.session_secure,
        domain=settings.session_cookie_domain,
        path=settings.session_cookie_path,
    )


def _limits(settings: Settings) -> dict[str, Any]:
    return {
        "ttl": settings.session_ttl,
        "max_age": settings.session_max_age,
        "max_bytes": settings.session_max_bytes,
        "timeout": settings.session_timeout,
        "eager": settings.session_eager,
    }


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    store, database, accounts = app.state.store, app.state.database, app.state.accounts
    swept = {"sessions": store, "log-ins and attempts": accounts} if app.state.settings.session_sweep else {}
    sweepers = [Sweeper(one, what=what) for what, one in swept.items() if isinstance(one, Purgeable)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        yield
    finally:
        for sweeper in sweepers:
            await sweeper.stop()
        await store.close()
        await database.close()
