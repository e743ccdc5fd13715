"""Instrumentation for `/inspect` and `/metrics`. Where both are off, nothing is wrapped."""

from collections.abc import Callable

from fastapi import FastAPI

from cartapp.session import SessionManager
from cartapp.session.stores import InstrumentedStore, OnCall, Store, StoreCall
from cartapp.settings import Settings

from .inspect import routes as inspect_routes
from .inspect.middleware import RequestTraceMiddleware
from .inspect.trace import Inspector, TraceLog
from .metrics.middleware import MetricsMiddleware


class Instrumentation:
    """The instrumentation that the settings enable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._traces = None if settings.production else TraceLog()
        self._metrics = None
        if settings.metrics:
            from .metrics.figures import Metrics  # needs a package that is loaded for metrics only

            self._metrics = Metrics(settings.backend, settings.session_pool_size)

    def wrap(self, store: Store) -> Store:
        """Return the store, wrapped if anything observes it."""
        observed = (self._traces, self._metrics)
        observers: list[OnCall] = [each.observe for each in observed if each is not None]
        return InstrumentedStore(store, _together(observers)) if observers else store

    @property
    def on_breaker(self) -> Callable[[bool], None] | None:
        """The callback for the circuit breaker's opening and closing."""
        return self._metrics.set_breaker if self._metrics else None

    @property
    def on_count(self) -> Callable[[str], None] | None:
        """The callback for the session middleware's counters."""
        return self._metrics.count if self._metrics else None

    def install(self, app: FastAPI, sessions: SessionManager) -> None:
        """Add middleware and routes to the application."""
        if self._traces is not None:
            app.state.inspector = Inspector(self._traces, sessions, self._settings.backend)
            app.add_middleware(RequestTraceMiddleware, inspector=app.state.inspector)
            app.include_router(inspect_routes.router)
        if self._metrics is not None:
            from .metrics import routes as metrics_routes
            from .metrics.store_gauges import StoreGauges

            app.state.metrics = self._metrics
            app.state.store_gauges = StoreGauges(sessions.store, self._metrics)
            app.add_middleware(MetricsMiddleware, metrics=self._metrics)
            app.include_router(metrics_routes.router)


def _together(observers: list[OnCall]) -> OnCall:
    if len(observers) == 1:
        return observers[0]

    def observe(observation: StoreCall) -> None:
        for one in observers:
            one(observation)

    return observe
