"""The pages of the shop. Each shows the session as it is, and a problem where a form was refused."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cartapp.session import Session

from .clients import is_json_client
from .errors import Refused, refused
from .inputs import THEMES
from .languages import page_language
from .templating import page
from .users import user_of
from .visitor import cart_of, preferences_of, profile_of

FLASH_OF_CART, FLASH_OF_PREFERENCES, FLASH_OF_PROFILE = "cart", "preferences", "message"
"""A flash waits for the page that its form leads to; other pages leave it alone."""


async def shop_page(
    request: Request, session: Session, problem: Refused | None = None, _fields: Any = None
) -> Response:
    """The catalogue, as many products a page as the visitor likes."""
    catalogue = request.app.state.catalogue
    size = preferences_of(session)["items_per_page"]
    pages = max(1, -(-await catalogue.count() // size))
    number = _page_number(request.query_params.get("page", ""), pages)
    context = {"products": await catalogue.page(number, size), "page": number, "pages": pages}
    return rendered("shop.html", request, session, context, problem)


async def cart_page(
    request: Request, session: Session, problem: Refused | None = None, _fields: Any = None
) -> Response:
    """The cart, with its forms."""
    context = {"cart": cart_of(session), "flashes": await take_flashes(session, FLASH_OF_CART)}
    return rendered("cart.html", request, session, context, problem)


async def preferences_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """The preferences; after a refusal, what was typed."""
    context = {
        "preferences": preferences_of(session) | typed(fields, ("language", "theme", "items_per_page")),
        "themes": THEMES,
        "flashes": await take_flashes(session, FLASH_OF_PREFERENCES),
    }
    return rendered("preferences.html", request, session, context, problem)


async def profile_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Name and e-mail address; after a refusal, what was typed."""
    user = user_of(request)
    profile = {"name": user.name, "email": user.email} if user else profile_of(session)
    context = {
        "profile": profile,
        "typed": profile | typed(fields, ("name", "email")),
        "flashes": await take_flashes(session, FLASH_OF_PROFILE),
    }
    return rendered("profile.html", request, session, context, problem)


def refusal(request: Request, error: Exception) -> Refused:
    """What a form's page is to show again with; for a JSON client the error goes on instead."""
    if is_json_client(request.headers):
        raise error
    return refused(error)


def rendered(
    template: str, request: Request, session: Session, context: dict[str, Any], problem: Refused | None
) -> Response:
    """A page with what all of them show, and perhaps a problem."""
    common = {
        "language": page_language(session.get("language"), request.headers),
        "theme": preferences_of(session)["theme"],
        "item_count": cart_of(session).item_count,
        "user": user_of(request),
        "problem": problem.sentence if problem else None,
    }
    answer = page(template, common | context, problem.status if problem else 200)
    answer.headers.update(problem.headers if problem else {})
    return answer


async def take_flashes(session: Session, key: str) -> list[tuple[str, str]]:
    """All messages that wait for this page, each with its category; nobody else gets them."""
    flashes: list[tuple[str, str]] = []
    while True:
        message, category = await session.take_flash(key, with_category=True)
        if message is None:
            return flashes
        flashes.append((message, category or "info"))


def typed(fields: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, str]:
    """What was typed into a form that is shown again."""
    return {name: str(fields[name]) for name in names if fields and fields.get(name) is not None}


def _page_number(text: str, pages: int) -> int:
    """The page asked for; the first for anything that is none, the last for one beyond it."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 9
    return min(max(1, int(text)), pages) if is_number else 1
