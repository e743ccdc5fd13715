"""The order as a payment provider would receive it. The shop ends here: it sends nothing."""

import msgspec

from cartapp.cart import Cart

from ..i18n.formatter import CURRENCY


def order_json(cart: Cart) -> str:
    """Return the order as indented JSON; amounts in cents, as payment providers count."""
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
    return msgspec.json.format(msgspec.json.encode(order), indent=2).decode()
