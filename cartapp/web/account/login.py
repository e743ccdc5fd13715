"""Register, log in and log out, by form or JSON."""

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.accounts import NewLogin
from cartapp.messages import _
from cartapp.settings import Settings

from ..deps import (
    AccountsDep,
    CatalogueDep,
    FormBody,
    OptionalUser,
    SessionDep,
    SettingsDep,
    get_current_user,
)
from ..docs.openapi import FORM_ERRORS, LOGGED_IN, form_body, json_response
from ..errors import API_ERRORS, APIError
from ..json_response import MsgspecResponse
from ..negotiation import is_json_client
from ..own_pages import own_page
from ..root_path import redirect
from ..schemas.account_requests import Credentials, Registration
from ..schemas.responses import LoginResponse, MessageResponse
from . import operations
from .current_user import HOME, LOGIN_PAGE, client_address
from .views import login_page, register_page, with_weak_password

router = APIRouter(
    tags=["Accounts"],
    default_response_class=HTMLResponse,
    responses=FORM_ERRORS,
    dependencies=[Depends(get_current_user)],
)


@router.get("/login", responses=LOGGED_IN)
async def login_form(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    user: OptionalUser,
) -> Response:
    """Show the form to log in; redirect a logged-in user."""
    if user is not None:
        return redirect(request, own_page(request.scope, request.query_params.get("next", "")) or HOME)
    return await login_page(request, session, catalogue, settings)


@router.get("/register", responses=LOGGED_IN)
async def registration_form(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    user: OptionalUser,
) -> Response:
    """Show the form to register; redirect a logged-in user."""
    if user is not None:
        return redirect(request, HOME)
    _check_open(settings)
    return await register_page(request, session, catalogue)


@router.post(
    "/register",
    status_code=303,
    response_class=RedirectResponse,
    responses={201: json_response(LoginResponse)},
    openapi_extra=form_body(
        Registration, {"name": "Alice", "email": "alice@example.com", "password": "a long phrase of mine"}
    ),
)
async def register(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    accounts: AccountsDep,
    settings: SettingsDep,
    form: FormBody[Registration],
) -> Response:
    """Create an account and log in."""
    _check_open(settings)
    try:
        login = await operations.register(request, session, accounts, form.validated())
    except API_ERRORS as error:
        problem = with_weak_password(form.reject(error), form.fields)
        return await register_page(request, session, catalogue, problem, form.fields)
    if is_json_client(request.headers):
        return _login_response(login, "Registration successful", 201)
    return redirect(request, HOME)


@router.post(
    "/login",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_response(LoginResponse)},
    openapi_extra=form_body(
        Credentials, {"email": "alice@example.com", "password": "a long phrase of mine", "remember_me": True}
    ),
)
async def log_in(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    accounts: AccountsDep,
    settings: SettingsDep,
    form: FormBody[Credentials],
) -> Response:
    """Log in; with `remember_me` this device stays logged in for 30 days."""
    try:
        body = form.validated()
        login = await accounts.log_in(
            body.email, body.password, client=client_address(request), remember=body.remember_me
        )
        await operations.log_in(request, session, accounts, login)
    except API_ERRORS as error:
        return await login_page(request, session, catalogue, settings, form.reject(error), form.fields)
    if is_json_client(request.headers):
        return _login_response(login, "Login successful", 200)
    return redirect(request, own_page(request.scope, body.next) or HOME)


@router.post(
    "/logout",
    status_code=303,
    response_class=RedirectResponse,
    responses={200: json_response(MessageResponse)},
)
async def log_out(request: Request, session: SessionDep, accounts: AccountsDep) -> Response:
    """Log out on this device: its session ends, and its remember-me token is revoked."""
    await operations.log_out(request, session, accounts)
    if is_json_client(request.headers):
        return MsgspecResponse({"message": "Logged out"})
    return redirect(request, LOGIN_PAGE)


def _login_response(login: NewLogin, message: str, status: int) -> Response:
    user = {"id": login.user.id, "name": login.user.name}
    return MsgspecResponse({"message": message, "user": user}, status)


def _check_open(settings: Settings) -> None:
    if settings.registration == "closed":
        raise APIError(403, _("Registration is closed"))
