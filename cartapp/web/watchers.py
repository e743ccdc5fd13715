"""Who watches the application at work: a developer at `/inspect`, Prometheus at `/metrics`. Often nobody.

What nobody watches costs nothing: neither the wrapper of the store nor the layers are there then.
"""

from collections.abc import Callable

from fastapi import FastAPI

from cartapp.session import CookieOptions
from cartapp.session.carriers import Carrier
from cartapp.session.manager import Manager
from cartapp.session.policy import Policy
from cartapp.session.stores.base import Store
from cartapp.session.stores.observed import Observation, Observe, ObservedStore
from cartapp.settings import Settings

from .inspection import Inspector, Trail
from .layers.measured import Measured
from .layers.trailed import Trailed
from .routes import inspection


class Watchers:
    """Those that the settings ask for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trail = None if settings.production else Trail()
        self._metrics = None
        if settings.metrics:
            from .metrics import Metrics  # nobody else loads the package that it needs

            self._metrics = Metrics(settings.backend)

    def round(self, store: Store) -> Store:
        """The store, observed by those who watch."""
        watchers = (self._trail, self._metrics)
        observers: list[Observe] = [watcher.observe for watcher in watchers if watcher is not None]
        return ObservedStore(store, _together(observers)) if observers else store

    @property
    def on_breaker(self) -> Callable[[bool], None] | None:
        """Who is to be told when the breaker before the store opens and closes."""
        return self._metrics.set_breaker if self._metrics else None

    @property
    def on_count(self) -> Callable[[str], None] | None:
        """Who is to be told of what the session layer counts."""
        return self._metrics.count if self._metrics else None

    def install(self, app: FastAPI, carrier: Carrier, cookie: CookieOptions, policy: Policy) -> None:
        """Add their layers and routes to the application."""
        if self._trail is not None:
            manager = Manager(carrier, policy)
            app.state.inspector = Inspector(self._trail, manager, cookie, self._settings.backend)
            app.add_middleware(Trailed, inspector=app.state.inspector)
            app.router.routes.extend(inspection.router.routes)
        if self._metrics is not None:
            from .routes import metrics

            app.state.metrics = self._metrics
            app.add_middleware(Measured, metrics=self._metrics)
            app.router.routes.extend(metrics.router.routes)


def _together(observers: list[Observe]) -> Observe:
    if len(observers) == 1:
        return observers[0]

    def observe(observation: Observation) -> None:
        for one in observers:
            one(observation)

    return observe
