"""In and out: register, log in, log out, by form or JSON."""

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.accounts import LoggedIn

from ..account_inputs import Credentials, Registration
from ..account_pages import login_page, register_page
from ..answers import JSONAnswer
from ..clients import is_json_client
from ..entry import enter, leave
from ..entry import register as make_account
from ..errors import Refused
from ..forms import submitted
from ..openapi import FORM_PROBLEMS, form_body, json_answer
from ..outputs import Entered, Message
from ..routing import PageRoute
from ..users import HOME, LOGIN_PAGE, VisitorDep, accounts_of, client_of, own_page

router = APIRouter(
    route_class=PageRoute, tags=["Accounts"], default_response_class=HTMLResponse, responses=FORM_PROBLEMS
)


@router.get("/login")
async def login_form(request: Request, session: VisitorDep) -> Response:
    """The form to log in."""
    return await login_page(request, session)


@router.get("/register")
async def register_form(request: Request, session: VisitorDep) -> Response:
    """The form to become a user."""
    _check_open(request)
    return await register_page(request, session)


@router.post(
    "/register",
    status_code=303,
    response_class=RedirectResponse,
    responses={201: json_answer(Entered)},
    openapi_extra=form_body(
        Registration, {"name": "Alice", "email": "alice@example.com", "password": "a long phrase of mine"}
    ),
)
async def register(request: Request, session: VisitorDep) -> Response:
    """Become a user, and be logged in."""
    _check_open(request)

    async def act(wanted: Registration) -> Response:
        made = await make_account(request, session, wanted)
        return _entered(request, made, "Registration successful", 201, HOME)

    return await submitted(request, session, Registration, act, again=register_page)


@router.post(
    "/login",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_answer(Entered)},
    openapi_extra=form_body(
        Credentials, {"email": "alice@example.com", "password": "a long phrase of mine", "remember_me": True}
    ),
)
async def login(request: Request, session: VisitorDep) -> Response:
    """Log in; with `remember_me` this device stays logged in for 30 days."""

    async def act(wanted: Credentials) -> Response:
        made = await accounts_of(request).log_in(
            wanted.email, wanted.password, client=client_of(request), remember=wanted.remember_me
        )
        await enter(request, session, made)
        return _entered(request, made, "Login successful", 200, own_page(request, wanted.next) or HOME)

    return await submitted(request, session, Credentials, act, again=login_page)


@router.post(
    "/logout", status_code=303, response_class=RedirectResponse, responses={200: json_answer(Message)}
)
async def logout(request: Request, session: VisitorDep) -> Response:
    """Log out on this device: its sessions end, and it is not remembered any more."""
    await leave(request, session)
    if is_json_client(request.headers):
        return JSONAnswer({"message": "Logged out"})
    return RedirectResponse(LOGIN_PAGE, 303)


def _entered(request: Request, made: LoggedIn, message: str, status: int, then: str) -> Response:
    if is_json_client(request.headers):
        return JSONAnswer({"message": message, "user": {"id": made.user.id, "name": made.user.name}}, status)
    return RedirectResponse(then, 303)


def _check_open(request: Request) -> None:
    if request.app.state.settings.registration == "closed":
        raise Refused(403, "Registration is closed")
