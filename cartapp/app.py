"""The only place that wires things together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from cartapp.catalogue import BUILT_IN, Catalogue
from cartapp.session import CookieOptions, SessionMiddleware
from cartapp.session.stores.base import Store
from cartapp.settings import Settings, load
from cartapp.start import store_of
from cartapp.web import errors, static
from cartapp.web.layers.body_limit import BodyLimit
from cartapp.web.layers.catch_all import CatchAll
from cartapp.web.layers.cross_origin import CrossOriginCheck
from cartapp.web.layers.head import Head
from cartapp.web.layers.security_headers import SecurityHeaders
from cartapp.web.routes import cart_api, docs, health, language_api, session_api, shop_pages

API_VERSION = "1.0"
"""Of the HTTP interface, not of the package."""

ROUTERS: tuple[APIRouter, ...] = (
    cart_api.router,
    session_api.router,
    language_api.router,
    shop_pages.router,
    health.router,
    docs.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without `settings` they are read from the environment; raises `SettingsError`."""
    settings = settings or load()
    store = store_of(settings)
    app = FastAPI(
        title="cartapp",
        version=API_VERSION,
        description="A shopping cart on a session layer that keeps every change.",
        openapi_url=None,  # the document and its page are routes of our own, with assets of our own
        redirect_slashes=False,
        middleware=_layers(settings, store),
        lifespan=_lifespan,
    )
    app.state.settings, app.state.store, app.state.catalogue = settings, store, Catalogue(BUILT_IN)
    errors.install(app)
    for router in ROUTERS:
        # One flat list: an included router is matched twice a request and hides its methods from `Allow`.
        app.router.routes.extend(router.routes)
    app.mount("/static", static.CachedStaticFiles())
    return app


def _layers(settings: Settings, store: Store) -> list[Middleware]:
    """The layers around the router, the outermost first."""
    return [
        Middleware(SecurityHeaders, hsts=settings.production),
        Middleware(CatchAll),
        Middleware(BodyLimit),
        Middleware(CrossOriginCheck, trusted=settings.trusted_origins),
        Middleware(SessionMiddleware, **_session_options(settings), store=store),
        Middleware(Head),
    ]


def _session_options(settings: Settings) -> dict[str, Any]:
    return {
        "load": "explicit",
        "cookie": CookieOptions(
            name=settings.session_name,
            same_site=settings.session_samesite,
            http_only=settings.session_httponly,
            secure=settings.session_secure,
            domain=settings.session_cookie_domain,
            path=settings.session_cookie_path,
        ),
        "ttl": settings.session_ttl,
        "max_age": settings.session_max_age,
        "max_bytes": settings.session_max_bytes,
        "timeout": settings.session_timeout,
        "eager": settings.session_eager,
        "error_response": errors.session_error_response,
    }


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await app.state.store.close()
