"""The cart at present names and prices, where `CART_CATALOG=closed`.

Every response shows a line as the catalogue has it now. The session keeps it as it was when a form last wrote
the cart, so that the cart page can say what has changed since; reading writes nothing.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from cartapp.cart import Cart, CartItem, Offers
from cartapp.catalogue import NoSuchProduct

from .visitor import cart_of

_MOST_NAMED = 3


def is_closed(scope: Scope) -> bool:
    """Whether only products of the catalogue are sold."""
    return bool(scope["app"].state.settings.catalog == "closed")


async def offers_of(request: Request, session: Mapping[str, Any], *more: int) -> Offers:
    """The offers of what is in the cart, and of these products; none where the catalogue is open."""
    if not is_closed(request.scope):
        return {}
    products = {item.product_id for item in cart_of(session).items} | {*more}
    offers: Offers = await request.app.state.catalogue.offers(products)
    return offers


async def shown_cart(request: Request, session: Mapping[str, Any], offers: Offers | None = None) -> Cart:
    """The visitor's cart as a response shows it. `offers` may be those of before a change."""
    cart = cart_of(session)
    if not is_closed(request.scope) or not cart.items:
        return cart
    if offers is None or any(item.product_id not in offers for item in cart.items):
        offers = await offers_of(request, session)  # also when another request has added a product meanwhile
    return cart.at(offers)


async def catalogue_line(request: Request, offers: Offers, product_id: int, quantity: int) -> CartItem:
    """A line for the cart, as the catalogue has the product. Raises `NoSuchProduct`."""
    if product_id not in offers:
        offers = await request.app.state.catalogue.offers([product_id])
    offer = offers[product_id]
    if offer is None:
        raise NoSuchProduct
    return CartItem(product_id, offer.name, offer.price, quantity)


def notices(cart: Cart, offers: Offers) -> list[str]:
    """What the cart page says of a stored cart."""
    return [
        *_listed("No longer sold, and no longer in your cart", cart.unsold(offers)),
        *_listed("The price has changed", cart.repriced(offers)),
    ]


def _listed(sentence: str, names: list[str]) -> list[str]:
    """A sentence for each name, or one with their number: they may wait in a session of 4 KB (a cookie)."""
    if len(names) > _MOST_NAMED:
        return [f"{sentence}: {len(names)} products"]
    return [f"{sentence}: {name}" for name in names]
