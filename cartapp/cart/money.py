"""Money is whole cents inside and a plain number with at most two decimals outside."""

import re
from decimal import Decimal, InvalidOperation

MAX_PRICE = 100_000_000
"""The highest price, in cents."""

_CENT = Decimal("0.01")
_AMOUNT = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")


class InvalidPrice(ValueError):
    """The amount is negative, above the highest price, not finite, or finer than a cent."""


def cents_of(amount: Decimal) -> int:
    """The amount as whole cents. Raises `InvalidPrice`."""
    # The range comes first: 1E+999999999 is a small object, but the integer it stands for fills the memory.
    if not (amount.is_finite() and 0 <= amount <= MAX_PRICE // 100):
        raise InvalidPrice
    # Comparing is exact, multiplying is not: with 28 digits, 0.01 and 0.01 + 1E-40 would be the same.
    rounded = amount.quantize(_CENT)
    if rounded != amount:
        raise InvalidPrice
    return int(rounded.scaleb(2))


def read_price(value: object) -> int:
    """Return the cents of an amount that a client or a file gives: a JSON number, or a string of digits.

    Raises `InvalidPrice`, also for what only Python takes for a number: `1_000`, full-width digits, blanks.
    """
    if isinstance(value, str) and _AMOUNT.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise InvalidPrice
    return cents_of(value)


def decimal_of(text: str) -> Decimal:
    """The number that a JSON document writes; infinite when its exponent is more than a Decimal holds."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")


def number_of(cents: int) -> float:
    """The number that is written as the amount, 79.99 for 7999.

    Exact in print: up to 15 digits the nearest double prints as the decimal it was made from, and the
    fullest cart comes to 2,000,000,000,000.00.
    """
    return cents / 100
