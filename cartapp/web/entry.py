"""Operations on accounts and session, which have no transaction in common: the order of their steps.

Beginning a log-in: the accounts add its row; the session carries it, under a new ID; then the log-in that it
replaces is ended. No log-in ends before the browser's session has the next one. So a session store that fails
in between leaves the former log-in as it was, and a concurrent request with the former cookie finds that or a
tombstone. A row that no session carries gives no access.

Ending a log-in: the accounts end its row, and with it every session of it; then the session is removed. When
only the removal fails, the log-out has happened all the same: the record that is left is not accepted.

Other changes of an account: the accounts first. The session then gets a message, whose loss changes nothing.

Registration checks first that the session store takes a write, since a new account cannot be taken back. A
password is replaced last, in the transaction that ends all other log-ins. A step of the accounts that raises
`StoreUnavailable` may have taken effect; no response claims that it has not. docs/security.md has the table.
"""

from starlette.requests import Request

from cartapp.accounts import InvalidCredentials, LoggedIn, WrongPassword, events, network_of
from cartapp.session import Session, SessionEnded, StoreUnavailable
from cartapp.session.middleware import ANSWERED

from .account_inputs import PasswordChange, Registration
from .errors import Incomplete, logger
from .users import LoginRequired, Replaced, accounts_of, begin, client_of, device_of, login_of, user_of

_NOT_COMPLETED = "The log-in was not completed"


async def enter(request: Request, session: Session, made: LoggedIn, *, failure: str = _NOT_COMPLETED) -> None:
    """Log this browser in, then end what it was logged in with. Raises `Incomplete`."""
    former_user = session.user_id
    replaced = await _carry(request, session, made, failure)
    remembered = "yes" if made.token else "no"
    network = network_of(client_of(request))
    events.record("login_succeeded", user=made.user.id, network=network, remembered=remembered)
    device = device_of(request)
    former_token = device.token
    if made.token is None:
        device.forget()
    else:
        device.remember(made.token)
    try:
        await accounts_of(request).log_out(replaced.ids, former_token, user_id=former_user)
    except StoreUnavailable as error:  # no cookie of this browser leads to it any more, and it expires
        logger.warning("A former log-in of this browser was not ended: %s", error)


async def register(request: Request, session: Session, wanted: Registration) -> LoggedIn:
    """Make an account and log this browser in. Raises `Incomplete`, and refusals of `Accounts`."""
    try:
        await session.check_writable()
    except StoreUnavailable as error:
        raise Incomplete("The account was not created", error) from error
    made = await accounts_of(request).register(
        wanted.email, wanted.name, wanted.password, client=client_of(request)
    )
    failure = "The account was created, but the log-in was not completed"
    await enter(request, session, made, failure=failure)
    return made


async def change_password(request: Request, session: Session, wanted: PasswordChange) -> None:
    """Change the password and end all other log-ins. Raises `Incomplete`, and refusals of `Accounts`.

    With the cookie of a tombstone it is the same form once more, whose first response was lost.
    """
    user = user_of(request)
    user_id = user.id if user else await session.successor_user()
    if user_id is None:
        raise LoginRequired
    if user is None and await _is_repeated(request, session, user_id, wanted):
        return
    try:
        await _replace_password(request, session, user_id, wanted)
    except (WrongPassword, InvalidCredentials) as error:
        # All log-ins of the user may have been ended meanwhile, perhaps by the same form, sent twice.
        if await _is_logged_in(request, session) or not await _is_repeated(request, session, user_id, wanted):
            raise LoginRequired if isinstance(error, InvalidCredentials) else error from None


async def _replace_password(request: Request, session: Session, user_id: str, wanted: PasswordChange) -> None:
    accounts, client = accounts_of(request), client_of(request)
    try:
        change = await accounts.begin_password_change(
            user_id, wanted.current_password, wanted.new_password, client=client
        )
    except StoreUnavailable as error:
        raise Incomplete("The password was not changed", error) from error
    await _carry(request, session, change.made, "The password was not changed")
    try:
        await accounts.make_password_change(change, client=client)
    except StoreUnavailable as error:
        raise Incomplete("It is not known whether the password was changed", error) from error
    device_of(request).forget()


async def _is_repeated(request: Request, session: Session, user_id: str, wanted: PasswordChange) -> bool:
    """Return whether the same form has changed the password already; then log in."""
    made = await accounts_of(request).log_in_again(user_id, wanted.new_password, client=client_of(request))
    if made is not None:
        await enter(request, session, made)
    return made is not None


async def _is_logged_in(request: Request, session: Session) -> bool:
    """Whether the log-in of this request is still good; a concurrent request may have ended it."""
    user, login = user_of(request), login_of(session)
    return user is not None and login is not None and await accounts_of(request).is_current(user.id, login.id)


async def leave(request: Request, session: Session) -> None:
    """Log this browser out and remove its session."""
    was_in = await _end(request, session)
    session.destroy()
    await _save_after(session, was_in)


async def clear(request: Request, session: Session) -> None:
    """Log this browser out and empty its session, under a new ID."""
    was_in = await _end(request, session)
    session.clear()
    session.regenerate()
    try:
        await session.save()
    except SessionEnded:  # another request has ended or rotated it: what it goes on as ends, too
        session.destroy()
        await _save_after(session, was_in)


async def save_message(session: Session) -> None:
    """Save a flash after what it tells of was done; a session that cannot take it makes that no failure."""
    try:
        await session.save()
    except ANSWERED as error:
        logger.warning("A message to a visitor was lost: %s", error)


async def _carry(request: Request, session: Session, made: LoggedIn, failure: str) -> Replaced:
    """Let the session carry a new log-in. Raises `Incomplete`."""
    replaced = begin(request, session, made, fresh=True)
    try:
        await session.save()
    except ANSWERED as error:
        network = network_of(client_of(request))
        events.record("login_incomplete", user=made.user.id, network=network)
        if not isinstance(error, StoreUnavailable):
            await _take_back(request, made)
        # After `StoreUnavailable` the session may carry it all the same. Then the same log-in, repeated with
        # the old cookie, takes over the session's data, which it could not if the row were gone.
        raise Incomplete(failure, error) from error
    request.state.user = made.user
    return replaced


async def _take_back(request: Request, made: LoggedIn) -> None:
    try:
        await accounts_of(request).end_login(made.user.id, made.login_id)
    except StoreUnavailable as error:
        logger.warning("A log-in that no session carries was not removed: %s", error)


async def _end(request: Request, session: Session) -> bool:
    """End the log-in of this session and of this device; return whether the session had one."""
    device, login = device_of(request), login_of(session)
    await accounts_of(request).log_out({login.id} if login else (), device.token, user_id=session.user_id)
    device.forget()
    return login is not None


async def _save_after(session: Session, was_in: bool) -> None:
    """Commit the end of a session; that of an ended log-in is not accepted any more even when this fails."""
    try:
        await session.save()
    except ANSWERED as error:
        if not was_in:
            raise
        logger.warning("The session of an ended log-in was not removed, but gives no access: %s", error)
