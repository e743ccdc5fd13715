"""The current user: of the session, or of the remember-me cookie."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, cast

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from cartapp.accounts import Accounts, NewLogin, RememberedLogin, User
from cartapp.accounts.addresses import is_same
from cartapp.messages import _
from cartapp.session import Session, SessionEnded, SessionTooLarge, StoreUnavailable

from ..errors import error_response
from ..middleware.remember_me import Device
from ..schemas.account_requests import UserProfileUpdate
from ..shop.flashes import FLASH_OF_CART, save_with_flashes
from ..shop.session_data import SESSION_ENDED
from .browsers import browser_from_user_agent

LOGIN_PAGE, HOME = "/login", "/dashboard"
_LOGIN = "_login"


class LoginRequired(Exception):
    """The request needs a logged-in user."""


@dataclass(frozen=True, slots=True)
class Login:
    """The log-in of a session, as the session stores it."""

    id: int
    browser: str
    fresh: bool
    """Whether the password was given, not a remember-me token."""


class ReplacedLogins:
    """The log-ins that a new one replaces in a session; complete after the commit."""

    def __init__(self, session: Session) -> None:
        loaded = get_login(session)
        self._loaded = {loaded.id} if loaded else set()
        self._committed: set[int] = set()

    def by(self, login: Login) -> Callable[[Any], Any]:
        """Return a function for `Session.modify`: for an old cookie, only the commit finds the session."""

        def replace(kept: Any) -> Any:
            self._committed = {kept["id"]} if kept else set()
            return asdict(login)

        return replace

    @property
    def ids(self) -> set[int]:
        """The IDs of the log-ins."""
        return self._loaded | self._committed


def get_device(request: Request) -> Device:
    """Return the remember-me cookie of the request."""
    return cast(Device, request.scope["device"])


def client_address(request: Request) -> str:
    """Return the client's address."""
    return request.client.host if request.client else "unknown"


def get_user(request: Request) -> User | None:
    """Return the user that `get_current_user` found; None for a guest."""
    return getattr(request.state, "user", None)


def get_login(data: Any) -> Login | None:
    """Return the log-in of a session; `data` is the session, or its data from `Sessions.get`."""
    kept = (data or {}).get(_LOGIN)
    return Login(**kept) if kept else None


def begin_login(
    request: Request,
    session: Session,
    login: NewLogin | RememberedLogin,
    replaced: ReplacedLogins,
    *,
    fresh: bool,
) -> None:
    """Attach a log-in to the session with the next `save`. A guest's data stay, another user's do not."""
    if session.user_id not in (None, login.user.id):
        session.clear()
    # The log-in's number is the user's epoch: each load passes it to `Accounts.is_current`.
    session.log_in(login.user.id, login.login_id, resume=fresh)
    browser = browser_from_user_agent(request.headers.get("user-agent", ""))
    session.modify(_LOGIN, replaced.by(Login(login.login_id, browser, fresh)))


async def change_user(accounts: Accounts, user: User, body: UserProfileUpdate, *, client: str) -> None:
    """Change the submitted fields of the user's profile in one transaction. Raises errors of `Accounts`."""
    submitted = body.model_fields_set
    name = body.name if "name" in submitted and body.name != user.name else None
    if "email" in submitted and not is_same(body.email, user.email):
        await accounts.change_email(user.id, body.email, body.current_password, client=client, name=name)
    elif name is not None:
        await accounts.change_name(user.id, name)


async def find_user(request: Request, session: Session, accounts: Accounts) -> User | None:
    """Find the user of the session, else of the remember-me cookie, which then logs in.

    Raises `StoreUnavailable`.
    """
    error: StoreUnavailable | None = getattr(request.state, "visitor_error", None)
    if error is not None:  # already tried, with its timeout, by `PageVisitor`
        raise error
    device = get_device(request)
    if session.user_id is not None:
        return await accounts.get_user(session.user_id)
    if device.token is None:
        return None
    if session.is_prefetch:
        return await accounts.get_remembered_user(device.token)
    found = await accounts.log_in_with_token(device.token, client=client_address(request))
    if found is None:
        device.forget()
        return None
    if found.token is not None:
        device.remember(found.token)

    def begin() -> None:
        if session.has_expired:
            session.flash(FLASH_OF_CART, SESSION_ENDED, "info")
        begin_login(request, session, found, ReplacedLogins(session), fresh=False)

    # A concurrent request may have rotated the guest's session, or the session is full. This request is
    # served for the user all the same, and its session stays as it was.
    with suppress(SessionEnded, SessionTooLarge):
        await save_with_flashes(session, begin)
    return found.user


async def _login_required(request: Request, _error: Exception) -> Response:
    return error_response(request.scope, 401, _("Login required"))


def install(app: FastAPI) -> None:
    """Register the error handler with the application."""
    app.add_exception_handler(LoginRequired, _login_required)
