"""Operations on accounts and sessions, which share no transaction: the order of their steps.

Log in: add a row to the accounts, store its ID in the session under a new session ID, then end the former
log-in. If the session store fails in between, the former log-in stays valid; a concurrent request with the
former cookie finds it or a tombstone. A row that no session refers to gives no access.

Log out: end the row, which invalidates every session of that log-in, then remove the session. If only the
removal fails, the log-out is effective all the same: the remaining record is not accepted.

Other changes: the accounts first, then a flash in the session, which may be lost.

Registration checks first that the session store takes a write, since a new account cannot be taken back. A
password is replaced last, in the transaction that ends all other log-ins. A step of the accounts that raises
`StoreUnavailable` may have taken effect; no response claims that it has not. docs/security.md has the table.
"""

from starlette.requests import Request

from cartapp.accounts import Accounts, InvalidCredentials, NewLogin, WrongPassword, events, network_from_host
from cartapp.messages import _
from cartapp.session import HANDLED_ERRORS, Session, SessionEnded, StoreUnavailable

from ..errors import PartialFailure, logger
from ..schemas.account_requests import PasswordChange, Registration
from ..shop.flashes import save_with_flashes
from .current_user import (
    LoginRequired,
    ReplacedLogins,
    begin_login,
    client_address,
    get_device,
    get_login,
    get_user,
)

_NOT_COMPLETED = _("The login was not completed: {reason}")
_NOT_KNOWN = _("It is unknown whether the password was changed: {reason}")
_NOT_CHANGED = _("The password was not changed: {reason}")


async def log_in(
    request: Request,
    session: Session,
    accounts: Accounts,
    login: NewLogin,
    *,
    failure: str = _NOT_COMPLETED,
) -> None:
    """Log this browser in, then end its former log-in. Raises `PartialFailure`."""
    former_user = session.user_id
    replaced = await _save_login(request, session, accounts, login, failure)
    remembered = "yes" if login.token else "no"
    network = network_from_host(client_address(request))
    events.record("login_succeeded", user=login.user.id, network=network, remembered=remembered)
    device = get_device(request)
    former_token = device.token
    if login.token is None:
        device.forget()
    else:
        device.remember(login.token)
    try:
        await accounts.log_out(replaced.ids, former_token, user_id=former_user)
    except StoreUnavailable as error:  # no cookie refers to it any more, and it expires
        logger.warning("A former log-in of this browser was not ended: %s", error)


async def register(request: Request, session: Session, accounts: Accounts, body: Registration) -> NewLogin:
    """Create an account and log this browser in. Raises `PartialFailure` and errors of `Accounts`."""
    try:
        await session.check_writable()
    except StoreUnavailable as error:
        raise PartialFailure(_("The account was not created: {reason}"), error) from error
    login = await accounts.register(body.email, body.name, body.password, client=client_address(request))
    failure = _("The account was created, but the login was not completed: {reason}")
    await log_in(request, session, accounts, login, failure=failure)
    return login


async def change_password(
    request: Request, session: Session, accounts: Accounts, body: PasswordChange
) -> None:
    """Change the password and end all other log-ins. Raises `PartialFailure` and errors of `Accounts`.

    With the cookie of a tombstone, the form may be a repetition after a lost response.
    """
    user = get_user(request)
    user_id = user.id if user else await session.successor_user()
    if user_id is None:
        raise LoginRequired
    if user is None and await _is_repeated(request, session, accounts, user_id, body):
        return
    try:
        await _replace_password(request, session, accounts, user_id, body)
    except (WrongPassword, InvalidCredentials) as error:
        # A concurrent request, perhaps with the same form, may have ended all log-ins of the user.
        if await _is_logged_in(request, session, accounts) or not await _is_repeated(
            request, session, accounts, user_id, body
        ):
            raise LoginRequired if isinstance(error, InvalidCredentials) else error from None


async def _replace_password(
    request: Request, session: Session, accounts: Accounts, user_id: str, body: PasswordChange
) -> None:
    client = client_address(request)
    try:
        change = await accounts.prepare_password_change(
            user_id, body.current_password, body.new_password, client=client
        )
    except StoreUnavailable as error:
        raise PartialFailure(_NOT_CHANGED, error) from error
    await _save_login(request, session, accounts, change.login, _NOT_CHANGED)
    try:
        await accounts.commit_password_change(change, client=client)
    except StoreUnavailable as error:
        raise PartialFailure(_NOT_KNOWN, error) from error
    get_device(request).forget()


async def _is_repeated(
    request: Request, session: Session, accounts: Accounts, user_id: str, body: PasswordChange
) -> bool:
    """Return whether the same form has already changed the password; if so, log in."""
    login = await accounts.log_in_if_correct(user_id, body.new_password, client=client_address(request))
    if login is not None:
        await log_in(request, session, accounts, login)
    return login is not None


async def _is_logged_in(request: Request, session: Session, accounts: Accounts) -> bool:
    """Return whether the log-in of this request is still valid; a concurrent request may have ended it."""
    user, login = get_user(request), get_login(session)
    if user is None or login is None:
        return False
    return await accounts.is_current(user.id, login.id)


async def log_out(request: Request, session: Session, accounts: Accounts) -> None:
    """Log this browser out and remove its session."""
    was_logged_in = await _end_login(request, session, accounts)
    session.destroy()
    await _save_after(session, was_logged_in)


async def clear_session(request: Request, session: Session, accounts: Accounts) -> None:
    """Log this browser out and empty its session, under a new ID."""
    was_logged_in = await _end_login(request, session, accounts)
    session.clear()
    session.regenerate()
    try:
        await session.save()
    except SessionEnded:  # another request ended or rotated it: end its successor too
        session.destroy()
        await _save_after(session, was_logged_in)


async def save_message(session: Session) -> None:
    """Save a flash about a completed change. A failure is logged only."""
    try:
        await session.save()
    except HANDLED_ERRORS as error:
        logger.warning("A message to a visitor was lost: %s", error)


async def _save_login(
    request: Request, session: Session, accounts: Accounts, login: NewLogin, failure: str
) -> ReplacedLogins:
    """Store a new log-in in the session. Raises `PartialFailure`."""
    replaced = ReplacedLogins(session)
    try:
        await save_with_flashes(session, lambda: begin_login(request, session, login, replaced, fresh=True))
    except HANDLED_ERRORS as error:
        network = network_from_host(client_address(request))
        events.record("login_incomplete", user=login.user.id, network=network)
        if not isinstance(error, StoreUnavailable):
            await _revoke_login(accounts, login)
        # After `StoreUnavailable` the write may have taken effect. A repeated log-in with the old cookie can
        # then take over the session's data, but only while the row exists.
        raise PartialFailure(failure, error) from error
    request.state.user = login.user
    return replaced


async def _revoke_login(accounts: Accounts, login: NewLogin) -> None:
    try:
        await accounts.end_login(login.user.id, login.login_id)
    except StoreUnavailable as error:
        logger.warning("An unused log-in was not removed: %s", error)


async def _end_login(request: Request, session: Session, accounts: Accounts) -> bool:
    """End the log-in of this session and of this device; return whether the session had one."""
    device, login = get_device(request), get_login(session)
    await accounts.log_out({login.id} if login else (), device.token, user_id=session.user_id)
    device.forget()
    return login is not None


async def _save_after(session: Session, was_logged_in: bool) -> None:
    """Commit the end of a session. The session of an ended log-in is invalid even if this fails."""
    try:
        await session.save()
    except HANDLED_ERRORS as error:
        if not was_logged_in:
            raise
        logger.warning("The session of an ended log-in was not removed, but gives no access: %s", error)
