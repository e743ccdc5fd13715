"""The pages of the shop. Each shows the session as it is, and a problem where a form was refused."""

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cartapp.session import Session, StoreUnavailable

from .clients import is_json_client
from .closed import notices, offers_of, shown_cart
from .errors import Refused, logger, refused
from .languages import TRANSLATED
from .templating import page, wording_of
from .users import user_of
from .visitor import cart_of, has_expired, preferences_of, profile_of
from .wording import Wording, wording

FLASH_OF_CART, FLASH_OF_PREFERENCES, FLASH_OF_PROFILE = "cart", "preferences", "message"
"""A flash waits for the page that its form leads to; other pages leave it alone."""


async def shop_page(
    request: Request, session: Session, problem: Refused | None = None, _fields: Any = None
) -> Response:
    """The catalogue, as many products a page as the visitor likes."""
    catalogue = request.app.state.catalogue
    size = preferences_of(session)["items_per_page"]
    count = await catalogue.count()
    pages = max(1, -(-count // size))
    number = _page_number(request.query_params.get("page", ""), pages)
    context = {
        "products": await catalogue.page(number, size),
        "count": count,
        "page": number,
        "pages": pages,
        "numbers": _numbers(number, pages),
        "once": secrets.token_urlsafe(8),
        "item_count": await item_count(request, session),
    }
    return rendered("shop.html", request, context, problem)


async def cart_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """The cart, with its forms; after a refusal, what was typed into the one of that product."""
    typed_one = typed(fields, ("quantity",))
    offers = await offers_of(request, session)
    flashes = await take_flashes(session, FLASH_OF_CART)
    stored = cart_of(session)  # as committed with the flashes
    flashes += [(notice, "info") for notice in notices(stored, offers)]
    cart = stored.at(offers)
    context = {
        "cart": cart,
        "item_count": cart.item_count,
        "expired": has_expired(request, session),
        "refused": request.path_params.get("product_id") if problem and typed_one else None,
        "typed": typed_one.get("quantity"),
        "flashes": flashes,
    }
    return rendered("cart.html", request, context, problem)


async def preferences_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """The preferences; after a refusal, what was typed."""
    count = await item_count(request, session)
    flashes = await take_flashes(session, FLASH_OF_PREFERENCES)
    say = wording_of(request.scope)
    # Who has no preference yet reads in the browser's language, and keeps it by saving the form.
    shown = preferences_of(session) | {"language": session.get("language", say.language)}
    chosen = shown | typed(fields, ("language", "theme", "items_per_page"))
    context = {
        "preferences": chosen,
        "languages": _languages(chosen["language"], say),
        "translated": TRANSLATED,
        "item_count": count,
        "flashes": flashes,
    }
    return rendered("preferences.html", request, context, problem)


async def profile_page(
    request: Request,
    session: Session,
    problem: Refused | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Name and e-mail address; after a refusal, what was typed."""
    count = await item_count(request, session)
    flashes = await take_flashes(session, FLASH_OF_PROFILE)
    user = user_of(request)
    profile = {"name": user.name, "email": user.email} if user else profile_of(session)
    context = {
        "profile": profile,
        "typed": profile | typed(fields, ("name", "email")),
        "item_count": count,
        "flashes": flashes,
    }
    return rendered("profile.html", request, context, problem)


def refusal(request: Request, error: Exception) -> Refused:
    """What a form's page is to show again with; for a JSON client the error goes on instead."""
    if is_json_client(request.headers):
        raise error
    return refused(error)


def rendered(template: str, request: Request, context: dict[str, Any], problem: Refused | None) -> Response:
    """A page, and perhaps a problem on it. Nothing is waited for here: its flashes are taken already."""
    answer = page(template, request.scope, {"problem": problem} | context, problem.status if problem else 200)
    answer.headers.update(problem.headers if problem else {})
    return answer


async def item_count(request: Request, session: Session) -> int | None:
    """The number beside the link to the cart; None when the catalogue is needed for it and out of reach."""
    try:
        cart = await shown_cart(request, session)
    except StoreUnavailable as error:  # no reason to withhold the page
        logger.warning("%s: the cart is not counted: %s", request.url.path, error)
        return None
    return cart.item_count


async def take_flashes(session: Session, key: str) -> list[tuple[str, str]]:
    """All messages that wait for this page, each with its category; no other request gets them.

    To be called after everything that a page waits for: when that fails, the messages wait for the next page.
    """
    return [(message, category or "info") for message, category in await session.take_flashes(key)]


def typed(fields: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, str]:
    """What was typed into a form that is shown again."""
    return {name: str(fields[name]) for name in names if fields and fields.get(name) is not None}


def _page_number(text: str, pages: int) -> int:
    """The page asked for; the first for anything that is none, the last for one beyond it."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 9
    return min(max(1, int(text)), pages) if is_number else 1


def _numbers(page: int, pages: int) -> list[int]:
    """The pages to link to: the first, the last and those around this one; 0 stands for those left out."""
    near = sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})
    numbers: list[int] = []
    for number in near:
        if numbers and number - numbers[-1] > 1:
            numbers.append(0)
        numbers.append(number)
    return numbers


def _languages(chosen: str, say: Wording) -> list[tuple[str, str]]:
    """The languages to choose from, each in its own words; one that is no language of ours by its tag too."""
    languages = [(tag, wording(tag).language_name(tag)) for tag in TRANSLATED]
    if chosen in TRANSLATED:
        return languages
    return [*languages, (chosen, f"{say.language_name(chosen)} ({chosen})")]
