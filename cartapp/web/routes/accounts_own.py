"""A user's own account: dashboard, password, sessions."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.session import Session

from .. import entry
from ..account_inputs import HandleInPath, PasswordChange
from ..account_pages import FLASH_OF_ACCOUNT, dashboard_page
from ..account_sessions import as_json, end_other_sessions, end_session, own_sessions
from ..answers import JSONAnswer
from ..clients import is_json_client
from ..errors import Refused
from ..forms import submitted
from ..openapi import FORM_PROBLEMS, TO_LOGIN, form_body, json_answer
from ..outputs import PROBLEMS, Message, OwnSessionsAnswer
from ..routing import JSONRoute, PageRoute
from ..users import HOME, LOGIN_PAGE, LoginRequired, VisitorDep, required_user, user_of

pages = APIRouter(
    route_class=PageRoute, tags=["Accounts"], default_response_class=HTMLResponse, responses=FORM_PROBLEMS
)
api = APIRouter(route_class=JSONRoute, strict_content_type=False, tags=["Accounts"], responses=PROBLEMS)


@pages.get("/dashboard", responses=TO_LOGIN)
async def dashboard(request: Request, session: VisitorDep) -> Response:
    """The user's own page; guests are sent to the log-in."""
    if user_of(request) is None:
        return RedirectResponse(LOGIN_PAGE, 303)
    return await dashboard_page(request, session)


@pages.post(
    "/account/password",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_answer(Message)},
    openapi_extra=form_body(
        PasswordChange,
        {"current_password": "a long phrase of mine", "new_password": "a longer phrase of mine"},
    ),
)
async def change_password(request: Request, session: VisitorDep) -> Response:
    """Change the password; every other session and every remembered device of the user is logged out."""
    if user_of(request) is None and await session.successor_user() is None:
        raise LoginRequired

    async def act(wanted: PasswordChange) -> Response:
        await entry.change_password(request, session, wanted)
        return await _done(request, session, "Password changed")

    return await submitted(request, session, PasswordChange, act, again=dashboard_page)


@api.get("/account/sessions", response_model=OwnSessionsAnswer)
async def list_sessions(request: Request, session: VisitorDep) -> Response:
    """The user's own sessions, this one first."""
    _require(request)
    return JSONAnswer(as_json(await own_sessions(request, session)))


@api.delete("/account/sessions", response_model=Message)
async def end_others(request: Request, session: VisitorDep) -> Response:
    """End all own sessions but this one."""
    _require(request)
    await end_other_sessions(request, session)
    return JSONAnswer({"message": "All other sessions are ended"})


@api.delete("/account/sessions/{handle}", response_model=Message)
async def end_one(handle: HandleInPath, request: Request, session: VisitorDep) -> Response:
    """End one own session, and what its device remembers."""
    _require(request)
    await end_session(request, session, handle)
    return JSONAnswer({"message": "The session is ended"})


@pages.post(
    "/account/sessions/end-others",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_answer(Message)},
)
async def end_others_by_form(request: Request, session: VisitorDep) -> Response:
    """End all own sessions but this one."""
    required_user(request)
    await end_other_sessions(request, session)
    return await _done(request, session, "All other sessions are ended")


@pages.post(
    "/account/sessions/{handle}/end",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_answer(Message)},
)
async def end_one_by_form(handle: HandleInPath, request: Request, session: VisitorDep) -> Response:
    """End one own session; without this one, on to the log-in."""
    required_user(request)
    is_this = handle == session.id
    await end_session(request, session, handle)
    if is_this and not is_json_client(request.headers):
        return RedirectResponse(LOGIN_PAGE, 303)
    return await _done(request, session, "The session is ended")


async def _done(request: Request, session: Session, message: str) -> Response:
    """Say what was done, to a program at once and to a person on the next page."""
    if is_json_client(request.headers):
        return JSONAnswer({"message": message})
    session.flash(FLASH_OF_ACCOUNT, message, "success", unique=True)
    await entry.save_message(session)
    return RedirectResponse(HOME, 303)


def _require(request: Request) -> None:
    if user_of(request) is None:
        raise Refused(401, "Log in first")
