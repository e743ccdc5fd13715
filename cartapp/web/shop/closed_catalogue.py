"""The cart at current names and prices, for `CART_CATALOG=closed`.

Every response shows an item as in the current catalogue. The session keeps it as it was when a form last
wrote the cart, so that the cart page can report changes since; reading writes nothing.
"""

from collections.abc import Mapping
from typing import Any

from cartapp.cart import Cart, CartItem, Offers
from cartapp.catalogue import Catalogue, NoSuchProduct
from cartapp.messages import Message, _

from .session_data import get_cart

_MOST_NAMED = 3


class ShopCatalogue:
    """The catalogue of the shop, which sells nothing else if it is closed."""

    def __init__(self, catalogue: Catalogue, *, is_closed: bool) -> None:
        self.products = catalogue
        self.is_closed = is_closed

    async def get_offers(self, session: Mapping[str, Any], *more: int) -> Offers:
        """Return the offers for the products of the cart and for `more`; none where the shop is open."""
        if not self.is_closed:
            return {}
        return await self.products.get_offers({item.product_id for item in get_cart(session).items} | {*more})

    async def get_cart(self, session: Mapping[str, Any], offers: Offers | None = None) -> Cart:
        """Return the cart as a response shows it. `offers` may be those from before a change."""
        cart = get_cart(session)
        if not self.is_closed or not cart.items:
            return cart
        if offers is None or any(item.product_id not in offers for item in cart.items):
            offers = await self.get_offers(session)  # a concurrent request may have added a product
        return cart.with_offers(offers)

    async def create_item(self, offers: Offers, product_id: int, quantity: int) -> CartItem:
        """Return an item for the cart, as the catalogue has it. Raises `NoSuchProduct`."""
        if product_id not in offers:
            offers = await self.products.get_offers([product_id])
        offer = offers[product_id]
        if offer is None:
            raise NoSuchProduct
        return CartItem(product_id, offer.name, offer.price, quantity)


def notices(cart: Cart, offers: Offers) -> list[Message]:
    """Messages of the cart page about products of a stored cart that are gone or cost something else."""
    unsold, repriced = cart.unsold_names(offers), cart.repriced_names(offers)
    return [
        *_listed(
            unsold,
            _("No longer available and removed from your cart: {product}"),
            _("No longer available and removed from your cart: {number} products"),
        ),
        *_listed(
            repriced,
            _("The price has changed: {product}"),
            _("The price has changed: {number} products"),
        ),
    ]


def _listed(names: list[str], one: str, many: str) -> list[Message]:
    """A message for each name, or one with their number: they may wait in a session of 4 KB (a cookie)."""
    if len(names) > _MOST_NAMED:
        return [Message(many, number=len(names))]
    return [Message(one, product=name) for name in names]
