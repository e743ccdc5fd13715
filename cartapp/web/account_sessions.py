"""A user's own sessions: listed, and ended one by one or all but this one."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from cartapp.accounts import events
from cartapp.session import Session, SessionInfo, Sessions, StoreNotSupported
from cartapp.session.middleware import ANSWERED

from .browsers import UNKNOWN
from .entry import leave
from .errors import Incomplete, Refused, logger
from .users import accounts_of, login_of, required_user

_MOST = 100  # sessions that are shown
_UNLISTED = "The {} backend cannot list sessions; only this one is shown. The others can still be ended."


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A session as its user sees it."""

    handle: str
    browser: str
    created: str
    last_seen: str
    current: bool


@dataclass(frozen=True, slots=True)
class OwnSessions:
    """The sessions, the last used first; `note` says why some may be missing."""

    sessions: list[OwnSession]
    note: str | None = None


async def own_sessions(request: Request, session: Session) -> OwnSessions:
    """Return one good session for each log-in of the user. Raises `LoginRequired`.

    The listing ends when every log-in is found, since some backends look through the sessions of all users
    for it. Sessions that share a log-in are in one browser and end together.
    """
    user, store = required_user(request), request.app.state.sessions
    current = _current(session)
    missing = await accounts_of(request).current_logins(user.id) - {_login_id(session)}
    others: list[OwnSession] = []
    if not store.can_list:
        return OwnSessions([current], _UNLISTED.format(request.app.state.settings.backend))
    if missing:
        async for summary in store.find(user.id):
            found = await store.get(summary.handle)
            if found is not None and (login_id := _login_id(found.data)) in missing:
                missing -= {login_id}
                others.append(_told(found))
            if not missing or len(others) == _MOST:
                break
    others.sort(key=lambda one: one.last_seen, reverse=True)
    return OwnSessions([current, *others])


async def end_session(request: Request, session: Session, handle: str) -> None:
    """End one of the user's own sessions, with what its device remembers. Raises `Refused` with 404."""
    user, store = required_user(request), request.app.state.sessions
    if handle == session.id:
        await leave(request, session)
        return
    found = await _of_user(store, handle, user.id)
    login_id = _login_id(found.data)
    own_id = _login_id(session)
    if login_id is not None and login_id != own_id:
        await accounts_of(request).end_login(user.id, login_id)
    try:
        await store.end(handle, user=user.id)
    except ANSWERED as error:
        if login_id in (None, own_id):  # it has the log-in of this session, which goes on
            raise
        logger.warning("The session of an ended log-in was not removed, but gives no access: %s", error)
    events.record("session_ended", user=user.id, session=handle)


async def end_other_sessions(request: Request, session: Session) -> None:
    """End all sessions of the user but this one, and what their devices remember."""
    user, login = required_user(request), login_of(session)
    await accounts_of(request).end_other_logins(user.id, login.id if login else -1)
    try:
        await request.app.state.sessions.end_user(user.id, keep=session.id)
    except StoreNotSupported:
        pass  # their log-ins are ended, so none of them is let in any more
    except ANSWERED as error:
        # Those of this device may have the log-in of this session, which goes on.
        sentence = "All other devices are logged out, but sessions of this one may be left"
        raise Incomplete(sentence, error) from error
    events.record("other_sessions_ended", user=user.id)


async def _of_user(store: Sessions, handle: str, user_id: str) -> SessionInfo:
    try:
        found = await store.get(handle)
    except StoreNotSupported:
        found = None
    if found is None or found.user != user_id:
        raise Refused(404, "There is no such session of yours")
    return found


def _current(session: Session) -> OwnSession:
    created, last_seen = _text(session.created_at), _text(session.last_used_at)
    return OwnSession(session.id, _browser(session), created, last_seen, True)


def _told(found: SessionInfo) -> OwnSession:
    created, last_seen = _text(found.created), _text(found.last_seen)
    return OwnSession(found.handle, _browser(found.data), created, last_seen, False)


def _browser(data: Any) -> str:
    login = login_of(data)
    return login.browser if login else UNKNOWN


def _login_id(data: Any) -> int | None:
    login = login_of(data)
    return login.id if login else None


def _text(time: datetime | None) -> str:
    return (time or datetime.now(UTC)).isoformat(timespec="seconds")


def as_json(listed: OwnSessions) -> dict[str, Any]:
    """For programs."""
    sessions = [asdict(one) for one in listed.sessions]
    return {"sessions": sessions} | ({"note": listed.note} if listed.note else {})
