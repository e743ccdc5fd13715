"""The pages of the shop. After an error, each shows its form again."""

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cartapp.accounts import User
from cartapp.session import Session, StoreUnavailable

from ..errors import APIError, logger
from ..i18n.formatter import LocaleFormatter, formatter_for
from ..i18n.languages import TRANSLATED
from ..templating import get_formatter, get_theme, page
from .browse import Query
from .closed_catalogue import ShopCatalogue, notices
from .flashes import FLASH_OF_CART, FLASH_OF_PREFERENCES, FLASH_OF_PROFILE, Flash, take_flashes
from .order import order_parts
from .session_data import get_cart, get_preferences, get_profile


async def shop_page(
    request: Request, session: Session, catalogue: ShopCatalogue, problem: APIError | None = None
) -> Response:
    """Render the catalogue, with the visitor's number of products on a page."""
    query = Query.parse(request.query_params)
    selection = query.selection(get_formatter(request.scope))
    size = get_preferences(session)["items_per_page"]
    count = await catalogue.products.count(selection)
    pages = max(1, -(-count // size))
    number = _page_number(request.query_params.get("page", ""), pages)
    context = {
        "products": await catalogue.products.get_page(number, size, selection),
        "categories": await catalogue.products.list_categories(),
        "query": query,
        "quantities": _quantities(session),
        "count": count,
        "page": number,
        "pages": pages,
        "numbers": _numbers(number, pages),
        "idempotency_key": secrets.token_urlsafe(8),
        "item_count": await item_count(session, catalogue),
    }
    return rendered("shop.html", request, context, problem)


async def product_page(
    request: Request, session: Session, catalogue: ShopCatalogue, product_id: int
) -> Response:
    """Render a product. Raises `NoSuchProduct`."""
    context = {
        "product": await catalogue.products.get(product_id),
        "quantities": _quantities(session),
        "idempotency_key": secrets.token_urlsafe(8),
        "item_count": await item_count(session, catalogue),
    }
    return rendered("product.html", request, context, None)


async def cart_page(
    request: Request,
    session: Session,
    catalogue: ShopCatalogue,
    problem: APIError | None = None,
    fields: Mapping[str, Any] | None = None,
    *,
    changed: int | None = None,
) -> Response:
    """Render the cart; after an error, with the input for that product.

    `changed` is a product ID, for a script that shows the cart already: of all other lines, only the state.
    """
    typed_one = typed(fields, ("quantity",))
    offers = await catalogue.get_offers(session)
    flashes = await take_flashes(session, FLASH_OF_CART)
    stored = get_cart(session)  # as committed with the flashes
    flashes += [Flash(notice, "info") for notice in notices(stored, offers)]
    cart = stored.with_offers(offers)
    context = {
        "cart": cart,
        "order": order_parts(cart),
        "item_count": cart.item_count,
        "expired": session.has_expired,
        "refused": request.path_params.get("product_id") if problem and typed_one else None,
        "typed": typed_one.get("quantity"),
        "changed": changed,
        "flashes": flashes,
    }
    return rendered("cart.html", request, context, problem)


async def preferences_page(
    request: Request,
    session: Session,
    catalogue: ShopCatalogue,
    problem: APIError | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Render the preferences; after an error, with the input."""
    count = await item_count(session, catalogue)
    flashes = await take_flashes(session, FLASH_OF_PREFERENCES)
    say = get_formatter(request.scope)
    # Without a preference, the page is in the browser's language; saving the form keeps that.
    shown = get_preferences(session) | {
        "language": session.get("language", say.language),
        "theme": get_theme(request.scope),
    }
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
    catalogue: ShopCatalogue,
    user: User | None,
    problem: APIError | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Response:
    """Render name and e-mail address; after an error, with the input."""
    count = await item_count(session, catalogue)
    flashes = await take_flashes(session, FLASH_OF_PROFILE)
    profile = {"name": user.name, "email": user.email} if user else get_profile(session)
    context = {
        "profile": profile,
        "typed": profile | typed(fields, ("name", "email")),
        "item_count": count,
        "flashes": flashes,
    }
    return rendered("profile.html", request, context, problem)


def rendered(template: str, request: Request, context: dict[str, Any], problem: APIError | None) -> Response:
    """Render a page, perhaps with an error. It does no I/O: the flashes are taken already."""
    response = page(
        template, request.scope, {"problem": problem} | context, problem.status if problem else 200
    )
    response.headers.update(problem.headers if problem else {})
    return response


async def item_count(session: Session, catalogue: ShopCatalogue) -> int | None:
    """Return the number at the link to the cart; None if it needs an unreachable catalogue."""
    try:
        cart = await catalogue.get_cart(session)
    except StoreUnavailable as error:  # the page is useful without it
        logger.warning("The items of a cart were not counted: %s", error)
        return None
    return cart.item_count


def _quantities(session: Session) -> dict[int, int]:
    """Return the quantities in the cart by product ID."""
    return {item.product_id: item.quantity for item in get_cart(session).items}


def typed(fields: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, str]:
    """Return the submitted values for a form that is shown again."""
    return {name: str(fields[name]) for name in names if fields and fields.get(name) is not None}


def _page_number(text: str, pages: int) -> int:
    """Return the requested page; the first if invalid, the last if too large."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 9
    return min(max(1, int(text)), pages) if is_number else 1


def _numbers(page: int, pages: int) -> list[int]:
    """Return the pages to link to: the first, the last and those around this one; 0 for a gap."""
    near = sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})
    numbers: list[int] = []
    for number in near:
        if numbers and number - numbers[-1] > 1:
            numbers.append(0)
        numbers.append(number)
    return numbers


def _languages(chosen: str, say: LocaleFormatter) -> list[tuple[str, str]]:
    """Return the languages to choose from, each in its own language; an untranslated one with its tag."""
    languages = [(tag, formatter_for(tag).language_name(tag)) for tag in TRANSLATED]
    if chosen in TRANSLATED:
        return languages
    return [*languages, (chosen, f"{say.language_name(chosen)} ({chosen})")]
