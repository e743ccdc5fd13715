"""The cart as JSON. Every answer is the whole cart, as committed."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Request

from cartapp.cart import Cart, CartItem, NotInCart, Offers
from cartapp.session import Session
from cartapp.session.fastapi import SessionDep

from ..answers import JSONAnswer, cart_answer
from ..closed import catalogue_line, is_closed, offers_of, shown_cart
from ..inputs import NewItem, NewQuantity, ProductInPath
from ..outputs import PROBLEMS, CartAnswer
from ..routing import JSONRoute
from ..visitor import change_cart, clear_cart

router = APIRouter(route_class=JSONRoute, strict_content_type=False, tags=["Cart"], responses=PROBLEMS)

_KEYBOARD = {"product_id": 1, "name": "Wireless Keyboard", "price": 79.99, "quantity": 1}


@router.post("/api/cart/add", response_model=CartAnswer)
async def add_to_cart(
    request: Request,
    session: SessionDep,
    item: Annotated[NewItem, Body(openapi_examples={"keyboard": {"value": _KEYBOARD}})],
) -> JSONAnswer:
    """Put a product into the cart; of one that is there already, the quantity grows."""
    offers = await offers_of(request, session, item.product_id)
    line = await _line(request, offers, item)
    # In a cart that seems full there may be lines of products that are no longer sold.
    return await _changed(request, session, offers, lambda cart: cart.with_room(offers).add(line))


@router.get("/api/cart", response_model=CartAnswer)
async def show_cart(request: Request, session: SessionDep) -> JSONAnswer:
    """The cart."""
    return cart_answer(await shown_cart(request, session))


@router.put("/api/cart/{product_id:product}", response_model=CartAnswer)
async def set_quantity(
    product_id: ProductInPath,
    request: Request,
    session: SessionDep,
    wanted: Annotated[NewQuantity, Body(openapi_examples={"three": {"value": {"quantity": 3}}})],
) -> JSONAnswer:
    """Set how many there are of a product; 0 removes it."""
    offers = await offers_of(request, session, product_id)

    def change(cart: Cart) -> Cart:
        _require_sold(offers, product_id)
        return cart.set_quantity(product_id, wanted.quantity)

    return await _changed(request, session, offers, change)


@router.delete("/api/cart/{product_id:product}", response_model=CartAnswer)
async def remove_from_cart(product_id: ProductInPath, request: Request, session: SessionDep) -> JSONAnswer:
    """Take a product out of the cart."""
    offers = await offers_of(request, session, product_id)

    def change(cart: Cart) -> Cart:
        _require_sold(offers, product_id)
        return cart.remove(product_id)

    return await _changed(request, session, offers, change)


@router.delete("/api/cart", response_model=CartAnswer)
async def empty_cart(request: Request, session: SessionDep) -> JSONAnswer:
    """Empty the cart."""
    clear_cart(session)
    await session.save()
    return cart_answer(await shown_cart(request, session))


async def _changed(
    request: Request, session: Session, offers: Offers, change: Callable[[Cart], Cart]
) -> JSONAnswer:
    change_cart(session, change)
    await session.save()
    return cart_answer(await shown_cart(request, session, offers))


def _require_sold(offers: Offers, product_id: int) -> None:
    """Raise `NotInCart` for a product that is no longer sold: no response shows it in the cart."""
    if product_id in offers and offers[product_id] is None:
        raise NotInCart


async def _line(request: Request, offers: Offers, item: NewItem) -> CartItem:
    """The line to add: as the client describes it, or as the catalogue does where the shop is closed."""
    if is_closed(request.scope):
        return await catalogue_line(request, offers, item.product_id, item.quantity)
    return CartItem(item.product_id, item.name, item.price, item.quantity)
