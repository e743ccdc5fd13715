"""The pages of accounts, each of which can be shown again with what was wrong."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cartapp.session import Session

from .account_sessions import own_sessions
from .errors import Refused
from .pages import item_count, rendered, take_flashes, typed
from .users import own_page, required_user
from .visitor import has_expired

FLASH_OF_ACCOUNT = "account"


async def login_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """The form to log in; it leads back to the own page that asked."""
    asked = str((fields or request.query_params).get("next") or "")
    context = {
        "typed": {"email": ""} | typed(fields, ("email",)),
        "next": own_page(request, asked) or "",
        "open": request.app.state.settings.registration == "open",
        "flashes": [("Your earlier session has ended", "info")] if has_expired(request, session) else [],
        "item_count": await item_count(request, session),
    }
    return rendered("login.html", request, context, problem)


async def register_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """The form to become a user."""
    context = {
        "typed": {"name": "", "email": ""} | typed(fields, ("name", "email")),
        "item_count": await item_count(request, session),
    }
    return rendered("register.html", request, context, problem)


async def dashboard_page(
    request: Request, session: Session, problem: Refused | None = None, _fields: Any = None
) -> Response:
    """The user's own page. Raises `LoginRequired`."""
    required_user(request)
    listed = await own_sessions(request, session)
    count = await item_count(request, session)
    context = {
        "sessions": listed.sessions,
        "note": listed.note,
        "item_count": count,
        "flashes": await take_flashes(session, FLASH_OF_ACCOUNT),
    }
    return rendered("dashboard.html", request, context, problem)
