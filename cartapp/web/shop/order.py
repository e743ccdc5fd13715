"""The order as a payment provider would receive it. The shop ends here: it sends nothing."""

import re

import msgspec

from cartapp.cart import Cart

from ..i18n.formatter import CURRENCY

_PART = 10  # items


def order_parts(cart: Cart) -> list[str]:
    """Return the order as indented JSON, in parts of ten items; amounts in cents, as payment providers count.

    A browser lays out only the parts that it shows.
    """
    order = {
        "currency": CURRENCY,
        "amount": cart.total,
        "items": [
            {
                "product_id": item.product_id,
                "description": item.name,
                "unit_amount": item.price,
                "quantity": item.quantity,
            }
            for item in cart.items
        ],
    }
    text = msgspec.json.format(msgspec.json.encode(order), indent=2).decode()
    pieces = re.split(r"\n(?=    \{)", text)  # before each item
    return ["\n".join(pieces[start : start + _PART]) for start in range(0, len(pieces), _PART)]
