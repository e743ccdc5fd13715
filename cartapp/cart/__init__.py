"""The shopping cart: pure values and rules. No session, no HTTP, no SQL."""

from .cart import (
    MAX_LINES,
    MAX_NAME,
    MAX_PRODUCT_ID,
    MAX_QUANTITY,
    Cart,
    CartFull,
    CartItem,
    NotInCart,
    Offer,
    Offers,
)
from .money import MAX_PRICE, InvalidPrice, amount_from_cents, cents_from_decimal, parse_decimal, parse_price

__all__ = [
    "MAX_LINES",
    "MAX_NAME",
    "MAX_PRICE",
    "MAX_PRODUCT_ID",
    "MAX_QUANTITY",
    "Cart",
    "CartFull",
    "CartItem",
    "InvalidPrice",
    "NotInCart",
    "Offer",
    "Offers",
    "amount_from_cents",
    "cents_from_decimal",
    "parse_decimal",
    "parse_price",
]
