"""Cart and CartItem: frozen values; every change gives a new cart."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

MAX_PRODUCT_ID = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly (RFC 8259, section 6)."""
MAX_QUANTITY = 10_000
"""Pieces in one line."""
MAX_LINES = 200
"""Different products in one cart."""
MAX_NAME = 200
"""Characters in a product's name."""


class NotInCart(LookupError):
    """The cart has no line of this product."""

    def __init__(self) -> None:
        super().__init__("Product not in cart")


class CartFull(ValueError):
    """The change would pass a limit of the cart; the message names it."""


class Offer(NamedTuple):
    """What a product is called and costs at present; the price is in cents."""

    name: str
    price: int


Offers = Mapping[int, Offer | None]
"""Offers by product, not necessarily of a whole cart; None for a product that is no longer sold."""


class CartItem(Struct, frozen=True):
    """One line: a product, its price in cents, and how many of it."""

    product_id: int
    name: str
    price: int
    quantity: int

    @property
    def subtotal(self) -> int:
        """The line's price in cents."""
        return self.price * self.quantity

    def with_quantity(self, quantity: int) -> Self:
        """The line with another quantity. Raises `CartFull` above `MAX_QUANTITY`."""
        if quantity > MAX_QUANTITY:
            raise CartFull(f"A line of the cart holds at most {MAX_QUANTITY} pieces")
        return replace(self, quantity=quantity)


class Cart(Struct, frozen=True):
    """Lines in the order in which their products were first added; no product stands in two."""

    items: tuple[CartItem, ...] = ()

    def add(self, item: CartItem) -> "Cart":
        """The cart with the item in it; of a product that is there already only the quantity grows.

        Raises `CartFull` when the line would pass `MAX_QUANTITY` or the cart `MAX_LINES`.
        """
        there = self.find(item.product_id)
        if there is not None:
            return self._with(there.with_quantity(there.quantity + item.quantity))
        if len(self.items) >= MAX_LINES:
            raise CartFull(f"The cart holds at most {MAX_LINES} different products")
        return Cart((*self.items, item.with_quantity(item.quantity)))

    def set_quantity(self, product_id: int, quantity: int) -> "Cart":
        """The cart with this many of a product; 0 removes its line. Raises `NotInCart` and `CartFull`."""
        there = self._line(product_id)
        return self.remove(product_id) if quantity == 0 else self._with(there.with_quantity(quantity))

    def remove(self, product_id: int) -> "Cart":
        """The cart without the product. Raises `NotInCart`."""
        gone = self._line(product_id)
        return Cart(tuple(item for item in self.items if item is not gone))

    def clear(self) -> "Cart":
        """The empty cart."""
        return Cart()

    def at(self, offers: Offers) -> "Cart":
        """The cart with present names and prices, without what is no longer sold.

        A line of a product that `offers` says nothing of stays as it is.
        """
        if not offers:
            return self
        items: list[CartItem] = []
        for item in self.items:
            offer = offers.get(item.product_id, item)
            if offer is not None:
                items.append(replace(item, name=offer.name, price=offer.price))
        return Cart(tuple(items))

    def with_room(self, offers: Offers) -> "Cart":
        """The cart, which when it is full gives up what is no longer sold."""
        if len(self.items) < MAX_LINES:
            return self
        return Cart(tuple(item for item in self.items if offers.get(item.product_id, item) is not None))

    def unsold(self, offers: Offers) -> list[str]:
        """The names of products in the cart that are no longer sold."""
        return [item.name for item in self.items if offers.get(item.product_id, item) is None]

    def repriced(self, offers: Offers) -> list[str]:
        """The present names of products in the cart that cost something else at present."""
        present = [(item.price, offers.get(item.product_id)) for item in self.items]
        return [offer.name for price, offer in present if offer is not None and offer.price != price]

    @property
    def total(self) -> int:
        """The price of everything, in cents."""
        return sum(item.subtotal for item in self.items)

    @property
    def item_count(self) -> int:
        """How many pieces there are."""
        return sum(item.quantity for item in self.items)

    @property
    def unique_items(self) -> int:
        """How many different products there are."""
        return len(self.items)

    def find(self, product_id: int) -> CartItem | None:
        """The product's line, or None."""
        for item in self.items:
            if item.product_id == product_id:
                return item
        return None

    def _line(self, product_id: int) -> CartItem:
        item = self.find(product_id)
        if item is None:
            raise NotInCart
        return item

    def _with(self, changed: CartItem) -> "Cart":
        items = [changed if item.product_id == changed.product_id else item for item in self.items]
        return Cart(tuple(items))

    @classmethod
    def from_session(cls, lines: Iterable[Mapping[str, Any]]) -> Self:
        """The cart that `to_session` wrote down."""
        return cls(tuple([CartItem(**line) for line in lines]))

    def to_session(self) -> list[dict[str, Any]]:
        """The cart as plain JSON values, prices in cents."""
        return [
            {
                "product_id": item.product_id,
                "name": item.name,
                "price": item.price,
                "quantity": item.quantity,
            }
            for item in self.items
        ]
