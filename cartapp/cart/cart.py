"""Cart and CartItem, immutable values. Every change returns a new cart."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

from msgspec import Struct
from msgspec.structs import replace

from cartapp.messages import MessageError, _

MAX_PRODUCT_ID = 2**53 - 1
"""Largest integer that all JSON parsers keep exact (RFC 8259, section 6)."""
MAX_QUANTITY = 10_000
"""Maximum quantity of one line."""
MAX_LINES = 200
"""Maximum number of different products in a cart."""
MAX_NAME = 200
"""Maximum length of a product name, in characters."""


class NotInCart(MessageError):
    """The cart has no line of this product."""

    def __init__(self) -> None:
        super().__init__(_("Product not in cart"))


class CartFull(MessageError):
    """The change would exceed a limit of the cart. The message names it."""


class Offer(NamedTuple):
    """Current name and price (in cents) of a product."""

    name: str
    price: int


Offers = Mapping[int, Offer | None]
"""Offers by product ID, not necessarily for a whole cart; None for a product no longer sold."""


class CartItem(Struct, frozen=True):
    """One line of a cart: product, price in cents, quantity."""

    product_id: int
    name: str
    price: int
    quantity: int

    @property
    def subtotal(self) -> int:
        """Price of the line in cents."""
        return self.price * self.quantity

    def with_quantity(self, quantity: int) -> Self:
        """Return the line with another quantity. Raises `CartFull` above `MAX_QUANTITY`."""
        if quantity > MAX_QUANTITY:
            raise CartFull(_("The cart holds at most {limit} of one product"), limit=MAX_QUANTITY)
        return replace(self, quantity=quantity)


class Cart(Struct, frozen=True):
    """Lines in the order of their first addition, one per product."""

    items: tuple[CartItem, ...] = ()

    def add(self, item: CartItem) -> "Cart":
        """Add an item. A product already in the cart keeps its name and price, and its quantity grows.

        Raises `CartFull` if the line would exceed `MAX_QUANTITY` or the cart `MAX_LINES`.
        """
        line = self.find(item.product_id)
        if line is not None:
            return self._replace_line(line.with_quantity(line.quantity + item.quantity))
        if len(self.items) >= MAX_LINES:
            raise CartFull(_("The cart holds at most {limit} different products"), limit=MAX_LINES)
        return Cart((*self.items, item.with_quantity(item.quantity)))

    def insert_all(self, removed: "Cart", positions: Mapping[int, int]) -> "Cart":
        """Add items; new lines go to these positions, by product ID. Raises `CartFull` like `add`."""
        cart = self
        for item in removed.items:
            added = cart.add(item)
            if len(added.items) > len(cart.items):
                position = positions[item.product_id]
                added = Cart((*cart.items[:position], added.items[-1], *cart.items[position:]))
            cart = added
        return cart

    def set_quantity(self, product_id: int, quantity: int) -> "Cart":
        """Set the quantity of a product; 0 removes its line. Raises `NotInCart` and `CartFull`."""
        line = self._get_line(product_id)
        return self.remove(product_id) if quantity == 0 else self._replace_line(line.with_quantity(quantity))

    def remove(self, product_id: int) -> "Cart":
        """Remove a product. Raises `NotInCart`."""
        removed = self._get_line(product_id)
        return Cart(tuple(item for item in self.items if item is not removed))

    def clear(self) -> "Cart":
        """Return an empty cart."""
        return Cart()

    def with_offers(self, offers: Offers) -> "Cart":
        """Update names and prices, and remove products no longer sold.

        Lines of products missing from `offers` stay unchanged.
        """
        if not offers:
            return self
        items: list[CartItem] = []
        for item in self.items:
            offer = offers.get(item.product_id, item)
            if offer is not None:
                items.append(replace(item, name=offer.name, price=offer.price))
        return Cart(tuple(items))

    def without_unsold_if_full(self, offers: Offers) -> "Cart":
        """Remove products no longer sold if the cart is full."""
        if len(self.items) < MAX_LINES:
            return self
        return Cart(tuple(item for item in self.items if offers.get(item.product_id, item) is not None))

    def unsold_names(self, offers: Offers) -> list[str]:
        """Return the names of products in the cart that are no longer sold."""
        return [item.name for item in self.items if offers.get(item.product_id, item) is None]

    def repriced_names(self, offers: Offers) -> list[str]:
        """Return the current names of products in the cart with a changed price."""
        lines = [(item.price, offers.get(item.product_id)) for item in self.items]
        return [offer.name for price, offer in lines if offer is not None and offer.price != price]

    @property
    def total(self) -> int:
        """Price of all lines in cents."""
        return sum(item.subtotal for item in self.items)

    @property
    def item_count(self) -> int:
        """Sum of the quantities."""
        return sum(item.quantity for item in self.items)

    @property
    def unique_items(self) -> int:
        """Number of different products."""
        return len(self.items)

    def find(self, product_id: int) -> CartItem | None:
        """Return the line of a product, or None."""
        for item in self.items:
            if item.product_id == product_id:
                return item
        return None

    def _get_line(self, product_id: int) -> CartItem:
        item = self.find(product_id)
        if item is None:
            raise NotInCart
        return item

    def _replace_line(self, changed: CartItem) -> "Cart":
        items = [changed if item.product_id == changed.product_id else item for item in self.items]
        return Cart(tuple(items))

    @classmethod
    def from_session(cls, lines: Iterable[Mapping[str, Any]]) -> Self:
        """Create a cart from the value of `to_session`."""
        return cls(tuple([CartItem(**line) for line in lines]))

    def to_session(self) -> list[dict[str, Any]]:
        """Return the cart as JSON types, prices in cents."""
        return [
            {
                "product_id": item.product_id,
                "name": item.name,
                "price": item.price,
                "quantity": item.quantity,
            }
            for item in self.items
        ]
