"""Who the visitor is: the user of the session, or the one that this device remembers."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated, Any, cast
from urllib.parse import unquote

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from cartapp.accounts import Accounts, LoggedIn, Recognised, User
from cartapp.accounts.addresses import is_same
from cartapp.session import Session, SessionEnded, SessionTooLarge
from cartapp.session.fastapi import load_session

from .account_inputs import UserProfile, own_path
from .browsers import browser_of
from .errors import error_response
from .layers.remember_me import Device

LOGIN_PAGE, HOME = "/login", "/dashboard"
_LOGIN = "_login"


def own_page(request: Request, text: str) -> str | None:
    """Return the path if it leads to something of this shop that can be shown; None for any other text.

    A path for POST alone, such as `/logout`, would end on a page that says "Method not allowed".
    """
    path = own_path(text)
    if path is None:
        return None
    asked = {"type": "http", "method": "GET", "path": unquote(path.partition("?")[0].partition("#")[0])}
    found = any(route.matches({**request.scope, **asked})[0] is Match.FULL for route in request.app.routes)
    return path if found else None


class LoginRequired(Exception):
    """Nobody is logged in, where somebody must be."""


@dataclass(frozen=True, slots=True)
class Login:
    """What a session keeps of the log-in that it began with."""

    id: int
    browser: str
    fresh: bool
    """Whether the password was given, and not the token of a remembered device."""


class Replaced:
    """The log-ins that a new one takes the place of in a session; all are known once that is committed."""

    def __init__(self, session: Session) -> None:
        loaded = login_of(session)
        self._loaded = {loaded.id} if loaded else set()
        self._committed: set[int] = set()

    def by(self, login: Login) -> Callable[[Any], Any]:
        """For `Session.modify`: with an old cookie only the commit finds the session that goes on."""

        def replace(kept: Any) -> Any:
            self._committed = {kept["id"]} if kept else set()
            return asdict(login)

        return replace

    @property
    def ids(self) -> set[int]:
        """Their numbers."""
        return self._loaded | self._committed


def accounts_of(request: Request) -> Accounts:
    """The application's accounts."""
    return cast(Accounts, request.app.state.accounts)


def device_of(request: Request) -> Device:
    """What remembers the visitor's device."""
    return cast(Device, request.scope["device"])


def client_of(request: Request) -> str:
    """The client's address."""
    return request.client.host if request.client else "unknown"


def user_of(request: Request) -> User | None:
    """The user that a route with `VisitorDep` has found; None for a guest."""
    return getattr(request.state, "user", None)


def required_user(request: Request) -> User:
    """The same where there must be one. Raises `LoginRequired`."""
    user = user_of(request)
    if user is None:
        raise LoginRequired
    return user


def login_of(data: Any) -> Login | None:
    """The log-in that a session keeps; `data` is the session, or what `Sessions.get` tells of one."""
    kept = (data or {}).get(_LOGIN)
    return Login(**kept) if kept else None


async def visitor(request: Request) -> Session:
    """The loaded session, of a remembered user if it has no other.

    Raises `StoreUnavailable` when the sessions or the accounts are out of reach: nobody is let in then.
    """
    session = await load_session(request)
    request.state.user = await _found_user(request, session)
    return session


VisitorDep = Annotated[Session, Depends(visitor)]
"""A loaded session as a handler's argument, in a route that wants to know its user."""


def begin(request: Request, session: Session, made: LoggedIn | Recognised, *, fresh: bool) -> Replaced:
    """Make this the session of a log-in, with the next `save`. A guest's data stay, another user's do not."""
    replaced = Replaced(session)
    if session.user_id not in (None, made.user.id):
        session.clear()
    # For the layer the log-in's number is the epoch: it asks `Accounts.is_current` with it on every load.
    session.log_in(made.user.id, made.login_id, resume=fresh)
    browser = browser_of(request.headers.get("user-agent", ""))
    session.modify(_LOGIN, replaced.by(Login(made.login_id, browser, fresh)))
    return replaced


async def change_user(request: Request, changed: UserProfile) -> None:
    """Change what was sent of the user's profile, in one transaction. Raises what `Accounts` refuses with."""
    user, sent, accounts = required_user(request), changed.model_fields_set, accounts_of(request)
    name = changed.name if "name" in sent and changed.name != user.name else None
    if "email" in sent and not is_same(changed.email, user.email):
        client, password = client_of(request), changed.current_password
        await accounts.change_email(user.id, changed.email, password, client=client, name=name)
    elif name is not None:
        await accounts.change_name(user.id, name)


async def _found_user(request: Request, session: Session) -> User | None:
    accounts, device = accounts_of(request), device_of(request)
    if session.user_id is not None:
        return await accounts.user(session.user_id)
    if device.token is None:
        return None
    if session.is_prefetch:
        return await accounts.remembered(device.token)
    found = await accounts.recognise(device.token, client=client_of(request))
    if found is None:
        device.forget()
        return None
    if found.token is not None:
        device.remember(found.token)
    begin(request, session, found, fresh=False)
    # Of several requests that came with one guest's session, another may have renewed it; or it has no room.
    # This request is answered for the user all the same, and its session stays as it was.
    with suppress(SessionEnded, SessionTooLarge):
        await session.save()
    return found.user


async def _login_required(request: Request, _error: Exception) -> Response:
    return error_response(request.scope, 401, "Log in first")


def install(app: FastAPI) -> None:
    """Register the handler with the application."""
    app.add_exception_handler(LoginRequired, _login_required)
