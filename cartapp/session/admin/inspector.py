"""A view of the session of a request that leaves it unchanged: for developers' pages and for tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from .. import codec
from ..manager import SessionManager
from ..record import Version
from ..request_session import RequestSession
from ..session import Session


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a session; `size` is in bytes of its encoding."""

    key: str
    type: str
    size: int
    stored: Any
    """The value as JSON, with tags for types that JSON lacks."""


@dataclass(frozen=True, slots=True)
class SessionReport:
    """The committed state of a session. Sizes are in bytes."""

    handle: str
    user: str | None
    created: datetime
    age_seconds: int
    last_used: datetime
    idle_seconds: int
    expires_unless_used: datetime
    expires_at_the_latest: datetime
    version: Version
    size: int
    size_limit: int
    values: list[Value]


class SessionInspector:
    """Loads the session of a request read-only: nothing is committed, not even a keep-alive."""

    def __init__(self, manager: SessionManager) -> None:
        self._manager = manager

    def handle(self, scope: Mapping[str, Any]) -> str | None:
        """Return the handle of the session ID in the request's cookie, whether the session exists or not."""
        request_session = self._request_session(scope)
        return request_session.handle if request_session.has_id else None

    async def load(self, scope: Mapping[str, Any]) -> Session:
        """Return the session, loaded. Raises `StoreUnavailable`."""
        return await Session(self._request_session(scope)).load()

    def cookie_attributes(self, scope: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return the name and the attributes of the cookie for this request."""
        writer = self._manager.cookie_writer(scope)
        return writer.name, writer.format("", round(self._manager.policy.max_age)).split("; ")[1:]

    def report(self, session: Session) -> SessionReport | None:
        """Return the committed state of a session; None without one."""
        policy, now, record = self._manager.policy, self._manager.clock(), session.record
        if record is None or record.is_tombstone:
            return None
        values = [
            Value(key, type(session[key]).__name__, len(bytes(raw)), msgspec.json.decode(raw))
            for key, raw in codec.split(record.data).items()
        ]
        return SessionReport(
            handle=record.key,
            user=record.user_id,
            created=_time(record.created),
            age_seconds=(now - record.created) // 1000,
            last_used=_time(record.last_used),
            idle_seconds=(now - record.last_used) // 1000,
            expires_unless_used=_time(record.expires),
            expires_at_the_latest=_time(record.created + policy.lifetime(record.data).total),
            version=record.version,
            size=len(record.data),
            size_limit=policy.max_bytes,
            values=values,
        )

    def _request_session(self, scope: Mapping[str, Any]) -> RequestSession:
        reader = self._manager.cookie_writer(scope).reader(scope["headers"])
        request_session = RequestSession(self._manager, reader.read)
        request_session.read_only = True
        return request_session


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
