"""What `/metrics` tells, in Prometheus' text format; only built and only imported where CART_METRICS is true.

Counted in each process. Several workers share a folder, named by PROMETHEUS_MULTIPROC_DIR, which `cart serve`
makes for them; then each of them tells of all.
"""

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from cartapp.session.stores.observed import Observation

CONTENT_TYPE = CONTENT_TYPE_LATEST

# They would be a second line for each figure, which only OpenMetrics has a use for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds. A store in memory or on a local disk takes less than a millisecond, one that hangs the time-out.
_STORE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The figures of one application; its methods are called by whoever knows of something to count."""

    def __init__(self, backend: str) -> None:
        own = CollectorRegistry()
        self._requests = Counter(
            "cart_http_requests", "Requests that were answered.", ("method", "route", "status"), registry=own
        )
        self._latency = Histogram(
            "cart_http_request_duration_seconds",
            "Time to the first byte of the answer.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=own,
        )
        self._operations = Histogram(
            "cart_session_store_operation_duration_seconds",
            "Time of one operation on the session store, by what came of it.",
            ("backend", "operation", "outcome"),
            buckets=_STORE_BUCKETS,
            registry=own,
        )
        self._conflicts = Counter(
            "cart_session_conflicts",
            "Commits that met a newer record; the recorded operations were then done again on that.",
            registry=own,
        )
        self._overwritten = Counter(
            "cart_session_overwritten_keys",
            "Keys that two requests set at once; the last one won.",
            registry=own,
        )
        self._breaker = Gauge(
            "cart_session_store_breaker_open",
            "1 while calls to the session store fail at once, after a time-out; else 0.",
            multiprocess_mode="mostrecent",
            registry=own,
        )
        self._sweeps = Counter(
            "cart_session_sweeps", "Rounds of removing expired sessions.", ("outcome",), registry=own
        )
        self._swept = Counter("cart_sessions_swept", "Expired sessions that were removed.", registry=own)
        self._backend = backend
        self._breaker.set(0)
        self._told = _of_all_processes() or own

    def observe(self, observation: Observation) -> None:
        """An operation on the session store."""
        if observation.operation == "purge":
            self._sweeps.labels(observation.outcome).inc()
            self._swept.inc(observation.removed)
            return
        labels = self._backend, observation.operation, observation.outcome
        self._operations.labels(*labels).observe(observation.seconds)

    def count(self, what: str) -> None:
        """What the session layer counts: `conflicts` and `overwritten`."""
        {"conflicts": self._conflicts, "overwritten": self._overwritten}[what].inc()

    def set_breaker(self, is_open: bool) -> None:
        """The breaker opened or closed."""
        self._breaker.set(int(is_open))

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is a route's pattern, never a path, of which there is no end."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._latency.labels(known, route).observe(seconds)

    def text(self) -> bytes:
        """All figures. With several workers it reads their files."""
        return generate_latest(self._told)


def _of_all_processes() -> CollectorRegistry | None:
    """What the workers share; None where PROMETHEUS_MULTIPROC_DIR names no folder."""
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # its way to say so
        return None
    return registry
