"""Pages and their forms: done, flash, 303. They work without JavaScript."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.cart import Cart, Offers
from cartapp.session import Session

from ..account_inputs import UserProfile
from ..clients import is_json_client
from ..closed import catalogue_line, notices, offers_of
from ..errors import Refused
from ..forms import M, Page, submitted
from ..inputs import CatalogueItem, Input, NewQuantity, Preferences, ProductInPath, Profile
from ..openapi import FORM_PROBLEMS, form_body
from ..pages import (
    FLASH_OF_CART,
    FLASH_OF_PREFERENCES,
    FLASH_OF_PROFILE,
    cart_page,
    preferences_page,
    profile_page,
    shop_page,
)
from ..routing import PageRoute
from ..users import VisitorDep, change_user, user_of
from ..visitor import (
    AlreadySent,
    cart_of,
    change_cart,
    change_profile,
    clear_cart,
    has_expired,
    send_once,
    set_preferences,
)

router = APIRouter(
    route_class=PageRoute, tags=["Pages"], default_response_class=HTMLResponse, responses=FORM_PROBLEMS
)

SEE_OTHER: dict[str, Any] = {"status_code": 303, "response_class": RedirectResponse}
"""How a form that was carried out answers (RFC 9110, section 15.4.4): reloading does not send it again."""

_CART_ENDED = "Your session has ended, and the cart with it; nothing was changed"
_USER_ENDED = "Your session has ended; log in again, then send this form once more"


async def carried_out(
    request: Request,
    session: Session,
    model: type[M],
    change: Callable[[M], Awaitable[None]],
    *,
    again: Page,
    then: str,
) -> Response:
    """Change what the form says, save, and go on to a page; or show a page again with what is wrong."""

    async def act(wanted: M) -> Response:
        await change(wanted)
        await session.save()
        return RedirectResponse(then, 303)

    return await submitted(request, session, model, act, again=again)


@router.get("/")
async def shop(request: Request, session: VisitorDep) -> Response:
    """The catalogue."""
    return await shop_page(request, session)


@router.get("/cart")
async def cart(request: Request, session: VisitorDep) -> Response:
    """The cart."""
    return await cart_page(request, session)


@router.get("/preferences")
async def preferences(request: Request, session: VisitorDep) -> Response:
    """The preferences."""
    return await preferences_page(request, session)


@router.get("/profile")
async def profile(request: Request, session: VisitorDep) -> Response:
    """Name and e-mail address, and once the message that they were changed."""
    return await profile_page(request, session)


@router.post(
    "/cart/add", **SEE_OTHER, openapi_extra=form_body(CatalogueItem, {"product_id": 1, "quantity": 2})
)
async def add_to_cart(request: Request, session: VisitorDep) -> Response:
    """Put a product of the catalogue into the cart; the same form sent twice does so once."""

    async def add(item: CatalogueItem) -> None:
        offers = await offers_of(request, session, item.product_id)
        line = await catalogue_line(request, offers, item.product_id, item.quantity)
        send_once(session, item.once)
        _say_changes(session, offers)
        change_cart(session, lambda cart: cart.at(offers).add(line))
        if has_expired(request, session):
            session.flash(FLASH_OF_CART, "Your earlier session has ended, so this is a new cart", "info")
        session.flash(FLASH_OF_CART, f"Added to your cart: {line.name}", "success")

    try:
        return await carried_out(request, session, CatalogueItem, add, again=shop_page, then="/cart")
    except AlreadySent:
        session.flash(FLASH_OF_CART, "This form was sent twice; it was carried out once", "info")
        await session.save()
        return RedirectResponse("/cart", 303)


@router.post("/cart/clear", **SEE_OTHER)
async def empty_cart(request: Request, session: VisitorDep) -> Response:
    """Empty the cart."""

    async def clear(_nothing: Input) -> None:
        clear_cart(session)
        session.flash(FLASH_OF_CART, "Your cart is empty", "success")

    return await carried_out(request, session, Input, clear, again=cart_page, then="/cart")


@router.post("/cart/{product_id}", **SEE_OTHER, openapi_extra=form_body(NewQuantity, {"quantity": 3}))
async def set_quantity(product_id: ProductInPath, request: Request, session: VisitorDep) -> Response:
    """Set how many there are of a product; 0 removes it, also one that another tab has removed."""

    def changed(cart: Cart, quantity: int) -> Cart:
        gone = quantity == 0 and cart.find(product_id) is None and not is_json_client(request.headers)
        return cart if gone else cart.set_quantity(product_id, quantity)

    async def change(wanted: NewQuantity) -> None:
        if has_expired(request, session):
            raise Refused(404, _CART_ENDED)
        offers = await offers_of(request, session)
        _say_changes(session, offers)
        change_cart(session, lambda cart: changed(cart.at(offers), wanted.quantity))
        session.flash(FLASH_OF_CART, "Your cart was changed" if wanted.quantity else "Removed", "success")

    return await carried_out(request, session, NewQuantity, change, again=cart_page, then="/cart")


@router.post(
    "/preferences",
    **SEE_OTHER,
    openapi_extra=form_body(Preferences, {"language": "fr", "theme": "dark", "items_per_page": 50}),
)
async def save_preferences(request: Request, session: VisitorDep) -> Response:
    """Save the preferences."""

    async def save(chosen: Preferences) -> None:
        set_preferences(session, chosen)
        session.flash(FLASH_OF_PREFERENCES, "Preferences saved", "success")

    return await carried_out(request, session, Preferences, save, again=preferences_page, then="/preferences")


@router.post(
    "/profile/update",
    **SEE_OTHER,
    openapi_extra=form_body(Profile, {"name": "Alice", "email": "alice@example.com"}),
)
async def update_profile(request: Request, session: VisitorDep) -> Response:
    """Change name and e-mail address: a guest's in the session; a user's address takes the password."""

    async def update(changed: Profile) -> None:
        if "current_password" in changed.model_fields_set:  # a user's form, and nobody is logged in any more
            raise Refused(401, _USER_ENDED)
        change_profile(session, changed)
        session.flash(FLASH_OF_PROFILE, "Profile updated successfully", "success")

    async def update_user(changed: UserProfile) -> None:
        await change_user(request, changed)
        session.flash(FLASH_OF_PROFILE, "Profile updated successfully", "success")

    if user_of(request) is None:
        return await carried_out(request, session, Profile, update, again=profile_page, then="/profile")
    return await carried_out(request, session, UserProfile, update_user, again=profile_page, then="/profile")


def _say_changes(session: Session, offers: Offers) -> None:
    """Queue what the cart page will not see any more once the cart is stored at present prices."""
    for notice in notices(cart_of(session), offers):
        session.flash(FLASH_OF_CART, notice, "info")
