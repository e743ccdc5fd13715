"""The pages of accounts. After an error, each shows its form again."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cartapp.accounts import WeakPassword
from cartapp.accounts.passwords import check_strength, personal_words
from cartapp.messages import Message, _
from cartapp.session import Session
from cartapp.settings import Settings

from ..errors import APIError
from ..own_pages import own_page
from ..shop.closed_catalogue import ShopCatalogue
from ..shop.flashes import Flash, take_flashes
from ..shop.views import item_count, rendered, typed
from .sessions import SessionList

FLASH_OF_ACCOUNT = "account"
_EXPIRED = Flash(Message(_("Your previous session has ended")), "info")


async def login_page(
    request: Request,
    session: Session,
    catalogue: ShopCatalogue,
    settings: Settings,
    problem: APIError | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Render the log-in form, which leads back to the page that required it."""
    asked = str((fields or request.query_params).get("next") or "")
    context = {
        "typed": {"email": ""} | typed(fields, ("email",)),
        "next": own_page(request.scope, asked) or "",
        "open": settings.registration == "open",
        "flashes": [_EXPIRED] if session.has_expired else [],
        "item_count": await item_count(session, catalogue),
    }
    return rendered("login.html", request, context, problem)


def with_weak_password(problem: APIError, fields: Mapping[str, Any]) -> APIError:
    """Return the problem of a registration, with that of its password: all are shown at once."""
    password, name, email = (str(fields.get(key) or "") for key in ("password", "name", "email"))
    if problem.status != 400 or not password or "password" in problem.fields:
        return problem
    try:
        check_strength(password, words=personal_words(email, name))
    except WeakPassword as error:
        found = {**problem.fields, "password": error.message}
        return APIError(problem.status, problem.message, fields=found)
    return problem


async def register_page(
    request: Request,
    session: Session,
    catalogue: ShopCatalogue,
    problem: APIError | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Render the registration form."""
    context = {
        "typed": {"name": "", "email": ""} | typed(fields, ("name", "email")),
        "item_count": await item_count(session, catalogue),
    }
    return rendered("register.html", request, context, problem)


async def dashboard_page(
    request: Request,
    session: Session,
    catalogue: ShopCatalogue,
    own: SessionList,
    problem: APIError | None = None,
) -> Response:
    """Render the user's own page."""
    count = await item_count(session, catalogue)
    context = {
        "sessions": own.sessions,
        "note": own.note,
        "item_count": count,
        "flashes": await take_flashes(session, FLASH_OF_ACCOUNT),
    }
    return rendered("dashboard.html", request, context, problem)
