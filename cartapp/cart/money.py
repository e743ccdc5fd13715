"""Money: whole cents inside the shop, numbers with at most two decimals outside."""

import re
from decimal import Decimal, InvalidOperation

MAX_PRICE = 100_000_000
"""Maximum price, in cents."""

_CENT = Decimal("0.01")
_AMOUNT = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")


class InvalidPrice(ValueError):
    """The amount is negative, above the maximum, not finite, or has more than two decimals."""


def cents_from_decimal(amount: Decimal) -> int:
    """Return the amount in cents. Raises `InvalidPrice`."""
    # Check the range first: 1E+999999999 is a small object, but as an integer it would exhaust memory.
    if not (amount.is_finite() and 0 <= amount <= MAX_PRICE // 100):
        raise InvalidPrice
    # Comparison is exact. Multiplication rounds to 28 digits: 0.01 and 0.01 + 1E-40 would be equal.
    rounded = amount.quantize(_CENT)
    if rounded != amount:
        raise InvalidPrice
    return int(rounded.scaleb(2))


def parse_price(value: object) -> int:
    """Parse an amount, a JSON number or a decimal string, into cents.

    Raises `InvalidPrice`, also for strings that only Python accepts: `1_000`, full-width digits, spaces.
    """
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise InvalidPrice
    return cents_from_decimal(value)


def parse_decimal(text: str) -> Decimal:
    """Parse a JSON number. An exponent beyond the range of Decimal gives infinity."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def amount_from_cents(cents: int) -> float:
    """Return the amount as a number: 79.99 for 7999.

    It prints exactly: a double prints decimals of up to 15 digits unchanged, and a full cart has 15
    (2,000,000,000,000.00).
    """
    return cents / 100
