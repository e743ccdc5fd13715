"""The metrics of `/metrics`, in Prometheus' text format; imported only if CART_METRICS is true.

Each process counts its own. With several workers, `cart serve` creates a shared folder, named by
PROMETHEUS_MULTIPROC_DIR, and each worker reports the sum.
"""

from importlib.metadata import version
from platform import python_version
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from cartapp.session.stores import StoreCall

CONTENT_TYPE = CONTENT_TYPE_LATEST

# These would be a second line for each metric, which only OpenMetrics uses.
disable_created_metrics()  # type: ignore[no-untyped-call]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Seconds. A store in memory or on a local disk takes less than a millisecond; a hanging one, its timeout.
_STORE_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


_EVENTS: Final = {
    ("create", "created"): "created",
    ("save", "tombstone"): "rotated",
    ("delete", "deleted"): "ended",
}
"""Events by operation and outcome. A rotation also creates a record."""


class Metrics:
    """The metrics of one application."""

    def __init__(self, backend: str, pool_size: int) -> None:
        own = CollectorRegistry()
        self._requests = Counter(
            "cart_http_requests", "Requests with a response.", ("method", "route", "status"), registry=own
        )
        self._latency = Histogram(
            "cart_http_request_duration_seconds",
            "Time to the first byte of the response.",
            ("method", "route"),
            buckets=_REQUEST_BUCKETS,
            registry=own,
        )
        self._operations = Histogram(
            "cart_session_store_operation_duration_seconds",
            "Time of one operation on the session store, by outcome.",
            ("backend", "operation", "outcome"),
            buckets=_STORE_BUCKETS,
            registry=own,
        )
        self._conflicts = Counter(
            "cart_session_conflicts",
            "Commits that met a newer record and replayed the recorded operations on it.",
            registry=own,
        )
        self._overwritten = Counter(
            "cart_session_overwritten_keys",
            "Keys set by two concurrent requests; the last one won.",
            registry=own,
        )
        self._breaker = Gauge(
            "cart_session_store_breaker_open",
            "1 while the circuit breaker rejects calls to the session store; else 0.",
            multiprocess_mode="mostrecent",
            registry=own,
        )
        self._up = Gauge(
            "cart_session_store_up",
            "1 if the session store responded to the ping of this scrape; else 0.",
            multiprocess_mode="mostrecent",
            registry=own,
        )
        # A gauge without labels would be 0 before it is set, also on backends that never set it.
        self._records = Gauge(
            "cart_session_records",
            "Session records in the store, as the backend estimates them; may include expired ones.",
            ("backend",),
            multiprocess_mode="mostrecent",
            registry=own,
        )
        self._connections = Gauge(
            "cart_session_store_connections_in_use",
            "Connections to the session store that run an operation, of the process that responds.",
            ("backend",),
            multiprocess_mode="mostrecent",
            registry=own,
        )
        Gauge(
            "cart_session_store_pool_size",
            "Connections that a process may open: CART_SESSION_POOL_SIZE.",
            ("backend",),
            multiprocess_mode="mostrecent",
            registry=own,
        ).labels(backend).set(pool_size)
        self._sweeps = Counter(
            "cart_session_sweeps", "Sweeps for expired sessions.", ("outcome",), registry=own
        )
        self._swept = Counter("cart_sessions_swept", "Expired sessions removed.", registry=own)
        self._events = Counter(
            "cart_session_events",
            "Changes of session records: created, rotated, ended or expired.",
            ("event",),
            registry=own,
        )
        for event in ("created", "rotated", "ended", "expired"):
            self._events.labels(event)
        build = Gauge(
            "cart_build_info",
            "1, with the versions and the backend as labels.",
            ("version", "python", "backend"),
            multiprocess_mode="max",
            registry=own,
        )
        build.labels(version("cartapp"), python_version(), backend).set(1)
        self._backend = backend
        self._breaker.set(0)
        self._registry = _of_all_processes() or own
        ProcessCollector(registry=self._registry)

    def observe(self, observation: StoreCall) -> None:
        """Count an operation on the session store."""
        if observation.operation == "purge":
            self._sweeps.labels(observation.outcome).inc()
            self._swept.inc(observation.removed)
            self._events.labels("expired").inc(observation.removed)
            return
        event = _EVENTS.get((observation.operation, observation.outcome))
        if event is not None:
            self._events.labels(event).inc()
        labels = self._backend, observation.operation, observation.outcome
        self._operations.labels(*labels).observe(observation.seconds)

    def count(self, what: str) -> None:
        """Count an event of the session middleware: `conflicts` or `overwritten`."""
        {"conflicts": self._conflicts, "overwritten": self._overwritten}[what].inc()

    def set_breaker(self, is_open: bool) -> None:
        """Record that the circuit breaker opened or closed."""
        self._breaker.set(int(is_open))

    def set_up(self, is_up: bool) -> None:
        """Record whether the session store responds."""
        self._up.set(int(is_up))

    def set_records(self, number: int) -> None:
        """Record the number of session records."""
        self._records.labels(self._backend).set(number)

    def set_connections(self, number: int) -> None:
        """Record the number of connections in use."""
        self._connections.labels(self._backend).set(number)

    def count_response(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response. `route` is a route's pattern, never a path, so that labels stay few."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._latency.labels(known, route).observe(seconds)

    def text(self) -> bytes:
        """Return all metrics. With several workers it reads their files."""
        return generate_latest(self._registry)


def _of_all_processes() -> CollectorRegistry | None:
    """Return the workers' shared registry; None if PROMETHEUS_MULTIPROC_DIR names no folder."""
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:
        return None
    return registry
