"""What a developer may see of the session at hand, and of what each request did to its record.

Only built where `/inspect` is on. It shows a visitor that visitor's own session only, and never its id.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from starlette.types import Scope

from cartapp.session import CookieOptions, Session, codec
from cartapp.session.cookies import read_cookie
from cartapp.session.manager import Manager, Visit
from cartapp.session.record import Record
from cartapp.session.stores.observed import Observation

_SESSIONS, _REQUESTS, _OPERATIONS = 1000, 20, 50  # how many of each are kept: sessions, and of each the last
_PATH = 200  # characters of a path


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one request did to the session store."""

    at: datetime
    method: str
    path: str
    status: int
    operations: list[Observation] = field(default_factory=list)


class Trail:
    """The footprints of the last requests of the last sessions that this process has seen."""

    def __init__(self) -> None:
        self._current: ContextVar[list[Observation] | None] = ContextVar("operations", default=None)
        self._of: OrderedDict[str, deque[Footprint]] = OrderedDict()

    @contextmanager
    def following(self) -> Iterator[list[Observation]]:
        """Follow one request; what it does to the store will stand in the list."""
        operations: list[Observation] = []
        token = self._current.set(operations)
        try:
            yield operations
        finally:
            self._current.reset(token)

    def observe(self, observation: Observation) -> None:
        """An operation of the request at hand; the sweeper's belong to none."""
        operations = self._current.get()
        if operations is not None and len(operations) < _OPERATIONS:
            operations.append(observation)

    def add(self, key: str | None, footprint: Footprint) -> None:
        """File a request under the session that it came with, or under the one that it made of that."""
        made = _made(footprint.operations)
        if made is not None and key is not None:
            self._of[made] = self._of.pop(key, deque(maxlen=_REQUESTS))
        key = made or key
        if key is None:
            return
        self._of.setdefault(key, deque(maxlen=_REQUESTS)).append(footprint)
        self._of.move_to_end(key)
        if len(self._of) > _SESSIONS:
            self._of.popitem(last=False)

    def of(self, key: str) -> list[Footprint]:
        """The requests of a session, the last one first."""
        return list(reversed(self._of.get(key, ())))


class Inspector:
    """Looks at a request's session without using it: nothing is committed, not even a keep-alive."""

    def __init__(self, trail: Trail, manager: Manager, cookie: CookieOptions, backend: str) -> None:
        self.trail = trail
        self._manager, self._cookie, self._backend = manager, cookie, backend

    def visit(self, scope: Scope) -> Visit:
        """The dealings of this request with the session of its cookie."""
        name = self._cookie.name_for(_is_https(scope))
        visit = Visit(self._manager, partial(read_cookie, scope["headers"], name))
        visit.read_only = True
        return visit

    def own_key(self, scope: Scope) -> str | None:
        """The key of the session that a request came with, whether there is one or not."""
        visit = self.visit(scope)
        return visit.handle if visit.has_id else None

    async def session(self, scope: Scope) -> Session:
        """The session, loaded, which nobody will commit. Raises `StoreUnavailable`."""
        return await Session(self.visit(scope)).load()

    def report(self, session: Session, scope: Scope) -> dict[str, Any]:
        """All that may be told, as JSON values; times in ISO 8601, sizes in bytes."""
        policy, record = self._manager.policy, session.record
        https = _is_https(scope)
        told: dict[str, Any] = {
            "backend": self._backend,
            "cookie": {
                "name": self._cookie.name_for(https),
                "attributes": self._cookie.header("", round(policy.max_age), https=https).split("; ")[1:],
            },
            "session": None,
            "requests": [],
        }
        if record is None or record.is_tombstone:
            return told
        requests = [_request(footprint, record.key) for footprint in self.trail.of(record.key)]
        return told | {"session": self._session(session, record), "requests": requests}

    def _session(self, session: Session, record: Record) -> dict[str, Any]:
        policy, now = self._manager.policy, self._manager.clock()
        raws = codec.split(record.data)
        return {
            "handle": record.key,
            "user": record.user_id,
            "created": _time(record.created),
            "age_seconds": (now - record.created) // 1000,
            "last_used": _time(record.last_used),
            "idle_seconds": (now - record.last_used) // 1000,
            "expires_unless_used": _time(record.expires),
            "expires_at_the_latest": _time(record.created + round(policy.max_age * 1000)),
            "version": record.version.hex() if isinstance(record.version, bytes) else record.version,
            "size": len(record.data),
            "size_limit": policy.max_bytes,
            "data": [_entry(key, raw, session[key]) for key, raw in raws.items()],
        }


def _made(operations: Iterable[Observation]) -> str | None:
    """The session that these operations brought into being, if it is still there."""
    made: str | None = None
    for each in operations:
        if each.outcome == "created":
            made = each.key
        elif each.outcome == "deleted" and each.key == made:
            made = None
    return made


def _entry(key: str, raw: msgspec.Raw, value: object) -> dict[str, Any]:
    return {
        "key": key,
        "type": type(value).__name__,
        "size": len(bytes(raw)),
        "stored": msgspec.json.decode(raw),
    }


def _request(footprint: Footprint, own: str) -> dict[str, Any]:
    return {
        "at": footprint.at.isoformat(timespec="milliseconds"),
        "method": footprint.method,
        "path": footprint.path,
        "status": footprint.status,
        "operations": [
            {
                "operation": each.operation,
                # Another key may be a former one of this session's, or a session that somebody else's is.
                "session": "this" if each.key == own else "another",
                "outcome": each.outcome,
                "milliseconds": round(each.seconds * 1000, 3),
            }
            for each in footprint.operations
        ],
    }


def footprint_of(scope: Scope, status: int, operations: list[Observation]) -> Footprint:
    """What a request leaves. Its query stays out of it, as that may hold what a visitor typed."""
    return Footprint(datetime.now(UTC), scope["method"], scope["path"][:_PATH], status, operations)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _is_https(scope: Scope) -> bool:
    return scope.get("scheme") == "https"
