"""A user's own account: dashboard, password, sessions."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.messages import _
from cartapp.session import Session

from ..deps import (
    AccountsDep,
    CatalogueDep,
    CurrentUser,
    FormBody,
    OptionalUser,
    SessionDep,
    get_current_user,
)
from ..docs.openapi import FORM_ERRORS, TO_LOGIN, form_body, json_response
from ..errors import API_ERRORS
from ..json_response import MsgspecResponse
from ..json_route import JSONRoute
from ..negotiation import is_json_client
from ..root_path import redirect
from ..schemas.account_requests import PasswordChange, SessionHandlePath
from ..schemas.responses import ERRORS, MessageResponse, SessionListResponse
from . import operations
from .current_user import HOME, LOGIN_PAGE, LoginRequired, get_user
from .sessions import OwnSessionsDep, as_json
from .views import FLASH_OF_ACCOUNT, dashboard_page

pages = APIRouter(
    tags=["Accounts"],
    default_response_class=HTMLResponse,
    responses=FORM_ERRORS,
    dependencies=[Depends(get_current_user)],
)
api = APIRouter(route_class=JSONRoute, tags=["Accounts"], responses=ERRORS)


@pages.get("/dashboard", responses=TO_LOGIN)
async def dashboard(
    request: Request,
    session: SessionDep,
    own: OwnSessionsDep,
    catalogue: CatalogueDep,
    user: OptionalUser,
) -> Response:
    """Show the user's own page; send a guest to the log-in."""
    if user is None:
        return redirect(request, LOGIN_PAGE)
    return await dashboard_page(request, session, catalogue, await own.list(user))


@pages.post(
    "/account/password",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_response(MessageResponse)},
    openapi_extra=form_body(
        PasswordChange,
        {"current_password": "a long phrase of mine", "new_password": "a longer phrase of mine"},
    ),
)
async def change_password(
    request: Request,
    session: SessionDep,
    own: OwnSessionsDep,
    accounts: AccountsDep,
    catalogue: CatalogueDep,
    user: OptionalUser,
    form: FormBody[PasswordChange],
) -> Response:
    """Change the password; every other session and every remembered device of the user is logged out."""
    if user is None and await session.successor_user() is None:
        raise LoginRequired
    try:
        await operations.change_password(request, session, accounts, form.validated())
    except API_ERRORS as error:
        problem = form.reject(error)
        user = get_user(request)  # an attempt with the cookie of a tombstone may have logged in
        if user is None:
            raise LoginRequired from error
        return await dashboard_page(request, session, catalogue, await own.list(user), problem)
    return await _confirm(request, session, _("Password changed"))


@api.get("/account/sessions", response_model=SessionListResponse)
async def list_sessions(own: OwnSessionsDep, user: CurrentUser) -> Response:
    """List the user's own sessions, this one first."""
    return MsgspecResponse(as_json(await own.list(user)))


@api.delete("/account/sessions", response_model=MessageResponse)
async def end_others(own: OwnSessionsDep, user: CurrentUser) -> Response:
    """End all own sessions but this one."""
    await own.end_others(user)
    return MsgspecResponse({"message": "All other sessions ended"})


@api.delete("/account/sessions/{handle}", response_model=MessageResponse)
async def end_one(
    handle: SessionHandlePath,
    request: Request,
    session: SessionDep,
    own: OwnSessionsDep,
    accounts: AccountsDep,
    user: CurrentUser,
) -> Response:
    """End one own session and revoke the remember-me token of its device."""
    if handle == session.id:
        await operations.log_out(request, session, accounts)
    else:
        await own.end(user, handle)
    return MsgspecResponse({"message": "Session ended"})


@pages.post(
    "/account/sessions/end-others",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_response(MessageResponse)},
)
async def end_others_by_form(
    request: Request, session: SessionDep, own: OwnSessionsDep, user: CurrentUser
) -> Response:
    """End all own sessions but this one."""
    await own.end_others(user)
    return await _confirm(request, session, _("All other sessions ended"))


@pages.post(
    "/account/sessions/{handle}/end",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_response(MessageResponse)},
)
async def end_one_by_form(
    handle: SessionHandlePath,
    request: Request,
    session: SessionDep,
    own: OwnSessionsDep,
    accounts: AccountsDep,
    user: CurrentUser,
) -> Response:
    """End one own session; after this one, go on to the log-in."""
    if handle != session.id:
        await own.end(user, handle)
    else:
        await operations.log_out(request, session, accounts)
        if not is_json_client(request.headers):
            return redirect(request, LOGIN_PAGE)
    return await _confirm(request, session, _("Session ended"))


async def _confirm(request: Request, session: Session, message: str) -> Response:
    """Report what was done: to a JSON client at once, to a browser on the next page."""
    if is_json_client(request.headers):
        return MsgspecResponse({"message": message})
    session.flash(FLASH_OF_ACCOUNT, message, "success", unique=True)
    await operations.save_message(session)
    return redirect(request, HOME)
