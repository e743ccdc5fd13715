"""A user's own sessions: list them, end one, end all others."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends

from cartapp.accounts import Accounts, User, events
from cartapp.messages import Message, _
from cartapp.session import HANDLED_ERRORS, Session, SessionInfo, Sessions, StoreNotSupported

from ..deps import AccountsDep, SessionDep, SessionsDep
from ..errors import APIError, PartialFailure, logger
from ..i18n.labels import UNKNOWN_BROWSER
from .current_user import get_login

_MOST = 100  # sessions in a list
_UNLISTED = _(
    "The {backend} backend cannot list sessions; only this one is shown. The others can still be ended."
)


@dataclass(frozen=True, slots=True)
class OwnSession:
    """A session as its user sees it."""

    handle: str
    browser: str
    created: str
    last_seen: str
    current: bool

    @property
    def is_mobile(self) -> bool:
        """Whether the browser runs on a phone or tablet, for the icon."""
        return self.browser.endswith(("Android", "iPhone", "iPad"))


@dataclass(frozen=True, slots=True)
class SessionList:
    """The sessions, most recently used first; `note` explains why some may be missing."""

    sessions: list[OwnSession]
    note: Message | None = None


class OwnSessions:
    """Lists and ends the sessions of the requesting user."""

    def __init__(self, own: Session, sessions: Sessions, accounts: Accounts) -> None:
        self._own, self._sessions, self._accounts = own, sessions, accounts

    async def list(self, user: User) -> SessionList:
        """Return one valid session for each log-in of the user.

        Stop when every log-in is found, since some backends scan the sessions of all users. Sessions that
        share a log-in belong to one browser and end together.
        """
        current = _current(self._own)
        missing = await self._accounts.list_login_ids(user.id) - {_login_id(self._own)}
        others: list[OwnSession] = []
        if not self._sessions.can_list:
            return SessionList([current], Message(_UNLISTED, backend=self._sessions.backend))
        if missing:
            async for summary in self._sessions.find(user.id):
                found = await self._sessions.get(summary.handle)
                if found is not None and (login_id := _login_id(found.data)) in missing:
                    missing -= {login_id}
                    others.append(_own_session(found))
                if not missing or len(others) == _MOST:
                    break
        others.sort(key=lambda one: one.last_seen, reverse=True)
        return SessionList([current, *others])

    async def end(self, user: User, handle: str) -> None:
        """End another session of the user and revoke its remember-me token. Raises `APIError` with 404."""
        found = await _of_user(self._sessions, handle, user.id)
        login_id = _login_id(found.data)
        own_id = _login_id(self._own)
        if login_id is not None and login_id != own_id:
            await self._accounts.end_login(user.id, login_id)
        try:
            await self._sessions.end(handle, user=user.id)
        except HANDLED_ERRORS as error:
            if login_id in (None, own_id):  # it shares the log-in of this session, which stays valid
                raise
            logger.warning("The session of an ended log-in was not removed, but gives no access: %s", error)
        events.record("session_ended", user=user.id, session=handle)

    async def end_others(self, user: User) -> None:
        """End all other sessions of the user and revoke their remember-me tokens."""
        login = get_login(self._own)
        await self._accounts.end_other_logins(user.id, login.id if login else -1)
        try:
            await self._sessions.end_user(user.id, keep=self._own.id)
        except StoreNotSupported:
            pass  # their log-ins have ended, so they are not accepted
        except HANDLED_ERRORS as error:
            # Those on this device may share the log-in of this session, which stays valid.
            template = _(
                "All other devices were logged out, but other sessions on this device may remain: {reason}"
            )
            raise PartialFailure(template, error) from error
        events.record("other_sessions_ended", user=user.id)


async def get_own_sessions(session: SessionDep, sessions: SessionsDep, accounts: AccountsDep) -> OwnSessions:
    """Return the sessions of the requesting user."""
    return OwnSessions(session, sessions, accounts)


OwnSessionsDep = Annotated[OwnSessions, Depends(get_own_sessions)]


async def _of_user(sessions: Sessions, handle: str, user_id: str) -> SessionInfo:
    try:
        found = await sessions.get(handle)
    except StoreNotSupported:
        found = None
    if found is None or found.user != user_id:
        raise APIError(404, _("Session not found"))
    return found


def _current(session: Session) -> OwnSession:
    created, last_seen = _text(session.created_at), _text(session.last_used_at)
    return OwnSession(session.id, _browser(session), created, last_seen, True)


def _own_session(found: SessionInfo) -> OwnSession:
    created, last_seen = _text(found.created), _text(found.last_seen)
    return OwnSession(found.handle, _browser(found.data), created, last_seen, False)


def _browser(data: Any) -> str:
    login = get_login(data)
    return login.browser if login else UNKNOWN_BROWSER


def _login_id(data: Any) -> int | None:
    login = get_login(data)
    return login.id if login else None


def _text(time: datetime | None) -> str:
    return (time or datetime.now(UTC)).isoformat(timespec="seconds")


def as_json(listed: SessionList) -> dict[str, Any]:
    """Return the list for JSON clients."""
    sessions = [asdict(one) for one in listed.sessions]
    return {"sessions": sessions} | ({"note": str(listed.note)} if listed.note else {})
