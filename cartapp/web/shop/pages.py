"""Pages and their forms, which work without JavaScript: change, flash, redirect."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cartapp.cart import Cart, CartItem, Offers
from cartapp.catalogue import NoSuchProduct
from cartapp.messages import Message, _
from cartapp.session import Session

from ..account.current_user import change_user, client_address
from ..account.operations import save_message
from ..body import keep_fields
from ..deps import (
    AccountsDep,
    CatalogueDep,
    FormBody,
    OptionalUser,
    SessionDep,
    SettingsDep,
    get_current_user,
)
from ..docs.openapi import FORM_ERRORS, form_body
from ..errors import API_ERRORS, APIError
from ..i18n import languages
from ..negotiation import is_json_client, prefers_representation
from ..preference_cookies import THEME, set_cookie
from ..root_path import redirect
from ..schemas.account_requests import UserProfileUpdate
from ..schemas.requests import (
    CartRestore,
    CatalogueIdPath,
    CatalogueItemCreate,
    PreferencesUpdate,
    ProductIdPath,
    ProfileUpdate,
    QuantityUpdate,
    RequestModel,
)
from .closed_catalogue import ShopCatalogue, notices
from .flashes import (
    CART_CLEARED,
    FLASH_OF_CART,
    FLASH_OF_PREFERENCES,
    FLASH_OF_PROFILE,
    flash_removal,
    save_with_flashes,
)
from .session_data import (
    SESSION_ENDED,
    DuplicateSubmission,
    change_cart,
    change_profile,
    check_idempotency_key,
    get_cart,
    remove_cart,
    set_preferences,
)
from .views import (
    cart_page,
    preferences_page,
    product_page,
    profile_page,
    shop_page,
)

router = APIRouter(
    tags=["Pages"],
    default_response_class=HTMLResponse,
    responses=FORM_ERRORS,
    dependencies=[Depends(keep_fields), Depends(get_current_user)],
)

SEE_OTHER: dict[str, Any] = {"status_code": 303, "response_class": RedirectResponse}
"""The response to a form (RFC 9110, section 15.4.4): reloading the page does not submit it again."""

_REMOVED = '[{"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}]'
_CART_ENDED = _("Your session has ended and your cart is gone; nothing was changed")
_USER_ENDED = _("Your session has ended; log in and submit the form again")


@router.get("/")
async def shop(request: Request, session: SessionDep, catalogue: CatalogueDep) -> Response:
    """Show the catalogue."""
    return await shop_page(request, session, catalogue)


@router.get("/products/{product_id}")
async def product(
    product_id: CatalogueIdPath, request: Request, session: SessionDep, catalogue: CatalogueDep
) -> Response:
    """Show a product."""
    return await product_page(request, session, catalogue, product_id)


@router.get("/cart")
async def cart(request: Request, session: SessionDep, catalogue: CatalogueDep) -> Response:
    """Show the cart."""
    return await cart_page(request, session, catalogue)


@router.get("/preferences")
async def preferences(request: Request, session: SessionDep, catalogue: CatalogueDep) -> Response:
    """Show the preferences."""
    return await preferences_page(request, session, catalogue)


@router.get("/profile")
async def profile(
    request: Request, session: SessionDep, catalogue: CatalogueDep, user: OptionalUser
) -> Response:
    """Show name and e-mail address, and once the message that they were changed."""
    return await profile_page(request, session, catalogue, user)


@router.post(
    "/cart/add", **SEE_OTHER, openapi_extra=form_body(CatalogueItemCreate, {"product_id": 1, "quantity": 2})
)
async def add_to_cart(
    request: Request, session: SessionDep, catalogue: CatalogueDep, form: FormBody[CatalogueItemCreate]
) -> Response:
    """Add a product of the catalogue to the cart; the same form submitted twice counts once."""
    try:
        body = form.validated()
        offers = await catalogue.get_offers(session, body.product_id)
        item = await catalogue.create_item(offers, body.product_id, body.quantity)
        added = Message(_("Added to cart: {product}"), product=item.name)

        def add() -> None:
            check_idempotency_key(session, body.idempotency_key)
            _flash_notices(session, offers)
            change_cart(session, lambda cart: cart.with_offers(offers).add(item))
            if session.has_expired:
                session.flash(FLASH_OF_CART, SESSION_ENDED, "info")
            session.flash(FLASH_OF_CART, added.to_session(), "success")

        await save_with_flashes(session, add)
    except DuplicateSubmission:
        await _report_duplicate(session)
    except API_ERRORS as error:
        return await shop_page(request, session, catalogue, form.reject(error))
    return await _show_changed_cart(request, session, catalogue, body.product_id)


@router.post("/cart/clear", **SEE_OTHER)
async def clear_cart(
    request: Request, session: SessionDep, catalogue: CatalogueDep, form: FormBody[RequestModel]
) -> Response:
    """Clear the cart."""

    def clear() -> None:
        removed = get_cart(session).items
        if removed:  # the same form submitted twice shows one message
            flash_removal(session, Message(CART_CLEARED), dict(enumerate(removed)))
        remove_cart(session)

    try:
        form.validated()
        await save_with_flashes(session, clear)
    except API_ERRORS as error:
        return await cart_page(request, session, catalogue, form.reject(error), form.fields)
    return await _show_changed_cart(request, session, catalogue)


@router.post("/cart/restore", **SEE_OTHER, openapi_extra=form_body(CartRestore, {"items": _REMOVED}))
async def restore_items(
    request: Request, session: SessionDep, catalogue: CatalogueDep, form: FormBody[CartRestore]
) -> Response:
    """Put removed lines back into the cart; the same form submitted twice counts once."""
    try:
        body = form.validated()
        positions = {item.product_id: item.position for item in body.items}
        offers = await catalogue.get_offers(session, *positions)
        removed = Cart(
            tuple(CartItem(one.product_id, one.name, one.price, one.quantity) for one in body.items)
        )
        sold = removed.with_offers(offers)
        if not sold.items:
            raise NoSuchProduct
        message = Message(_("Restored: {product}"), product=sold.items[0].name)
        flash = message.to_session() if len(sold.items) == 1 else _("Cart restored")

        def restore() -> None:
            check_idempotency_key(session, body.idempotency_key)
            _flash_notices(session, offers, *removed.items)
            change_cart(session, lambda cart: cart.with_offers(offers).insert_all(sold, positions))
            session.flash(FLASH_OF_CART, flash, "success")

        await save_with_flashes(session, restore)
    except DuplicateSubmission:
        await _report_duplicate(session)
    except API_ERRORS as error:
        return await cart_page(request, session, catalogue, form.reject(error))
    return await _show_changed_cart(request, session, catalogue)


@router.post("/cart/{product_id}", **SEE_OTHER, openapi_extra=form_body(QuantityUpdate, {"quantity": 3}))
async def set_quantity(
    product_id: ProductIdPath,
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    form: FormBody[QuantityUpdate],
) -> Response:
    """Set the quantity of a product; 0 removes it, also one that another tab has removed."""

    def change(cart: Cart, quantity: int) -> Cart:
        is_removed = quantity == 0 and cart.find(product_id) is None and not is_json_client(request.headers)
        return cart if is_removed else cart.set_quantity(product_id, quantity)

    try:
        body = form.validated()
        if session.has_expired:
            raise APIError(404, _CART_ENDED)
        offers = await catalogue.get_offers(session)

        def update() -> None:
            _flash_notices(session, offers)
            _flash_quantity(session, offers, product_id, body.quantity)
            change_cart(session, lambda cart: change(cart.with_offers(offers), body.quantity))

        await save_with_flashes(session, update)
    except API_ERRORS as error:
        return await cart_page(request, session, catalogue, form.reject(error), form.fields)
    return await _show_changed_cart(request, session, catalogue, product_id)


@router.post(
    "/preferences",
    **SEE_OTHER,
    openapi_extra=form_body(PreferencesUpdate, {"language": "fr", "theme": "dark", "items_per_page": 50}),
)
async def save_preferences(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    settings: SettingsDep,
    form: FormBody[PreferencesUpdate],
) -> Response:
    """Save the preferences; language and theme also in cookies, which outlive the session."""
    try:
        body = form.validated()

        def save() -> None:
            set_preferences(session, body)
            session.flash(FLASH_OF_PREFERENCES, _("Preferences saved"), "success", unique=True)

        await save_with_flashes(session, save)
    except API_ERRORS as error:
        return await preferences_page(request, session, catalogue, form.reject(error), form.fields)
    response = redirect(request, "/preferences")
    set_cookie(response, request, settings, languages.COOKIE, body.language)
    set_cookie(response, request, settings, THEME, body.theme)
    return response


@router.post(
    "/profile/update",
    **SEE_OTHER,
    openapi_extra=form_body(ProfileUpdate, {"name": "Alice", "email": "alice@example.com"}),
)
async def update_profile(
    request: Request,
    session: SessionDep,
    catalogue: CatalogueDep,
    accounts: AccountsDep,
    user: OptionalUser,
    form: FormBody[ProfileUpdate],
) -> Response:
    """Change name and e-mail address: a guest's in the session; a user's address takes the password."""
    try:
        if user is None:
            body = form.validated()
            if "current_password" in body.model_fields_set:  # the form of a user with an ended session
                raise APIError(401, _USER_ENDED)
            await save_with_flashes(session, partial(_save_profile, session, body))
        else:
            user_body = form.validated_as(UserProfileUpdate)
            await change_user(accounts, user, user_body, client=client_address(request))
            _flash_profile(session)
            await save_message(session)
    except API_ERRORS as error:
        return await profile_page(request, session, catalogue, user, form.reject(error), form.fields)
    return redirect(request, "/profile")


def _flash_quantity(session: Session, offers: Offers, product_id: int, quantity: int) -> None:
    """Queue the message of a new quantity; none if the line has it already or is gone."""
    for position, item in enumerate(get_cart(session).with_offers(offers).items):
        if item.product_id != product_id or item.quantity == quantity:
            continue
        if quantity:
            session.flash(FLASH_OF_CART, _("Cart updated"), "success", unique=True)
        else:
            flash_removal(session, Message(_("Removed: {product}"), product=item.name), {position: item})


def _save_profile(session: Session, body: ProfileUpdate) -> None:
    """Record a guest's profile and its message."""
    change_profile(session, body)
    _flash_profile(session)


def _flash_profile(session: Session) -> None:
    session.flash(FLASH_OF_PROFILE, _("Profile updated successfully"), "success", unique=True)


async def _report_duplicate(session: Session) -> None:
    message = _("This form was submitted twice; it was processed once")
    session.flash(FLASH_OF_CART, message, "info", unique=True)
    await save_message(session)


async def _show_changed_cart(
    request: Request, session: Session, catalogue: ShopCatalogue, product_id: int | None = None
) -> Response:
    """Redirect to the cart; return it at once to a script, which saves a round trip.

    With a product, only its line is complete: rendering and parsing 200 lines for each press takes long.
    """
    if prefers_representation(request.headers):
        return await cart_page(request, session, catalogue, changed=product_id)
    return redirect(request, "/cart")


def _flash_notices(session: Session, offers: Offers, *more: CartItem) -> None:
    """Queue what the cart page cannot show once the cart, with `more`, is stored at present prices."""
    for notice in notices(Cart((*get_cart(session).items, *more)), offers):
        session.flash(FLASH_OF_CART, notice.to_session(), "info")
