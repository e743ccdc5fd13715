"""The only place that wires things together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from cartapp.accounts import Accounts, RateLimit
from cartapp.catalogue import BUILT_IN, Catalogue, seed
from cartapp.database.engine import open_database
from cartapp.database.shop import create_shop_database
from cartapp.session import SessionManager, SessionMiddleware, Sessions, session_lifespan
from cartapp.session.admin import Sweeper
from cartapp.settings import Settings, load
from cartapp.settings.env_local import ensure_secret
from cartapp.stores import create_manager, create_store
from cartapp.web import errors, site_files, static
from cartapp.web.account import current_user, dashboard, login
from cartapp.web.docs import routes as docs
from cartapp.web.health import routes as health
from cartapp.web.health.readiness import Readiness
from cartapp.web.instrumentation import Instrumentation
from cartapp.web.middleware.page import PageMiddleware
from cartapp.web.middleware.request import RequestMiddleware
from cartapp.web.middleware.response import ResponseMiddleware
from cartapp.web.proof import routes as proof
from cartapp.web.shop import cart_api, language_api, pages, session_api
from cartapp.web.shop.closed_catalogue import ShopCatalogue

API_VERSION = "1.0"
"""Of the HTTP interface, not of the package."""

ROUTERS: tuple[APIRouter, ...] = (
    language_api.router,
    pages.router,
    login.router,
    dashboard.pages,
    dashboard.api,
    docs.router,
    site_files.router,
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without `settings` they are read from the environment; raises `SettingsError`."""
    settings = settings or ensure_secret(load())
    engine = open_database(settings)
    instrumentation = Instrumentation(settings)
    store = create_store(settings, engine)
    database = create_shop_database(settings, database=engine, seed=seed(BUILT_IN))
    accounts = Accounts(
        database,
        limit=RateLimit(settings.login_limit.count, settings.login_limit.seconds),
        session_age=settings.session_max_age,
    )
    sessions = create_manager(
        settings,
        instrumentation.wrap(store),
        is_current=accounts.is_current,
        on_count=instrumentation.on_count,
        on_breaker=instrumentation.on_breaker,
    )
    app = FastAPI(
        title="cartapp",
        version=API_VERSION,
        description="A shopping cart on a session layer that keeps every change.",
        openapi_url=None,  # the document and its page are routes of our own, with assets of our own
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # /metrics and the logs are our own
        middleware=_middleware(settings, sessions, accounts),
        lifespan=_lifespan,
    )
    app.state.settings, app.state.session_manager, app.state.sessions = settings, sessions, Sessions(sessions)
    app.state.database, app.state.accounts, app.state.catalogue = database, accounts, Catalogue(database)
    app.state.shop_catalogue = ShopCatalogue(app.state.catalogue, is_closed=settings.catalog == "closed")
    app.state.readiness = Readiness(
        sessions, store, accounts, app.state.catalogue, registration=settings.registration == "open"
    )
    errors.install(app)
    current_user.install(app)
    for hot in (cart_api, session_api, health):  # first, since routes are matched in order
        hot.register(app)
    for router in ROUTERS:
        app.include_router(router)
    instrumentation.install(app, sessions)
    if not settings.production:
        proof.install(app, settings, sessions.store)
    app.router.routes.append(
        Route("/static/{path:path}", static.CachedStaticFiles(), methods=["GET"], name="static")
    )
    return app


def _middleware(settings: Settings, sessions: SessionManager, accounts: Accounts) -> list[Middleware]:
    """Return the middleware around the router, outermost first."""
    return [
        Middleware(ResponseMiddleware, hsts=settings.production),
        Middleware(
            RequestMiddleware,
            proxies=settings.trusted_proxies,
            origins=settings.trusted_origins,
            secure=settings.session_secure,
        ),
        Middleware(
            SessionMiddleware, sessions, load="explicit", error_response=errors.session_error_response
        ),
        Middleware(PageMiddleware, accounts=accounts),
    ]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    sweep = state.settings.session_sweep
    sweeper = Sweeper(state.accounts, what="log-ins and attempts") if sweep else None
    async with session_lifespan(state.session_manager, sweep=sweep):
        if sweeper is not None:
            sweeper.start()
        try:
            yield
        finally:
            if sweeper is not None:
                await sweeper.stop()
            await state.database.close()
