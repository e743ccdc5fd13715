"""The current session and the store operations of its requests, for `/inspect`.

Built in development only. A visitor sees the own session only, and never its ID.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import Scope

from cartapp.session import Session, SessionManager
from cartapp.session.admin import SessionInspector, SessionReport
from cartapp.session.stores import StoreCall

_SESSIONS, _REQUESTS, _OPERATIONS = (
    1000,
    20,
    50,
)  # limits: sessions, requests, operations of each
_PATH = 200  # characters of a path


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The store operations of one request."""

    at: datetime
    method: str
    path: str
    status: int
    operations: list[StoreCall] = field(default_factory=list)


class TraceLog:
    """Traces of recent requests of recent sessions, in this process."""

    def __init__(self) -> None:
        self._current: ContextVar[list[StoreCall] | None] = ContextVar("operations", default=None)
        self._by_key: OrderedDict[str, deque[RequestTrace]] = OrderedDict()

    @contextmanager
    def record(self) -> Iterator[list[StoreCall]]:
        """Record one request: its store operations are added to the list."""
        operations: list[StoreCall] = []
        token = self._current.set(operations)
        try:
            yield operations
        finally:
            self._current.reset(token)

    def observe(self, observation: StoreCall) -> None:
        """Add an operation to the current request; the sweeper's belong to none."""
        operations = self._current.get()
        if operations is not None and len(operations) < _OPERATIONS:
            operations.append(observation)

    def add(self, key: str | None, trace: RequestTrace) -> None:
        """Add a trace to the session of the request's cookie, or to the session that replaced it."""
        made = _made(trace.operations)
        if made is not None and key is not None:
            self._by_key[made] = self._by_key.pop(key, deque(maxlen=_REQUESTS))
        key = made or key
        if key is None:
            return
        self._by_key.setdefault(key, deque(maxlen=_REQUESTS)).append(trace)
        self._by_key.move_to_end(key)
        if len(self._by_key) > _SESSIONS:
            self._by_key.popitem(last=False)

    def get(self, key: str) -> list[RequestTrace]:
        """Return the requests of a session, most recent first."""
        return list(reversed(self._by_key.get(key, ())))


class Inspector:
    """Reads a request's session without using it: nothing is committed, not even a keep-alive."""

    def __init__(self, traces: TraceLog, manager: SessionManager, backend: str) -> None:
        self.traces = traces
        self._sessions, self._backend = SessionInspector(manager), backend

    def own_key(self, scope: Scope) -> str | None:
        """The key of the session that a request came with, whether there is one or not."""
        return self._sessions.handle(scope)

    async def session(self, scope: Scope) -> Session:
        """Load the session, which is not committed. Raises `StoreUnavailable`."""
        return await self._sessions.load(scope)

    def report(self, session: Session, scope: Scope) -> dict[str, Any]:
        """Return all that may be shown, as JSON values; times in ISO 8601, sizes in bytes."""
        name, attributes = self._sessions.cookie_attributes(scope)
        report = self._sessions.report(session)
        return {
            "backend": self._backend,
            "cookie": {"name": name, "attributes": attributes},
            "session": report and _session(report),
            "requests": [_request(trace, report.handle) for trace in self.traces.get(report.handle)]
            if report
            else [],
        }


def _session(report: SessionReport) -> dict[str, Any]:
    return {
        "handle": report.handle,
        "user": report.user,
        "created": _time(report.created),
        "age_seconds": report.age_seconds,
        "last_used": _time(report.last_used),
        "idle_seconds": report.idle_seconds,
        "expires_unless_used": _time(report.expires_unless_used),
        "expires_at_the_latest": _time(report.expires_at_the_latest),
        "version": report.version.hex() if isinstance(report.version, bytes) else report.version,
        "size": report.size,
        "size_limit": report.size_limit,
        "data": [asdict(value) for value in report.values],
    }


def _made(operations: Iterable[StoreCall]) -> str | None:
    """Return the session that these operations created, unless they deleted it again."""
    made: str | None = None
    for each in operations:
        if each.outcome == "created":
            made = each.key
        elif each.outcome == "deleted" and each.key == made:
            made = None
    return made


def _request(trace: RequestTrace, own: str) -> dict[str, Any]:
    return {
        "at": trace.at.isoformat(timespec="milliseconds"),
        "method": trace.method,
        "path": trace.path,
        "status": trace.status,
        "operations": [
            {
                "operation": each.operation,
                # Another key may be a former one of this session, or another visitor's session.
                "session": "this" if each.key == own else "another",
                "outcome": each.outcome,
                "milliseconds": round(each.seconds * 1000, 3),
            }
            for each in trace.operations
        ],
    }


def make_trace(scope: Scope, status: int, operations: list[StoreCall]) -> RequestTrace:
    """Create the trace of a request, without its query, which may hold a visitor's input."""
    return RequestTrace(datetime.now(UTC), scope["method"], scope["path"][:_PATH], status, operations)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
