"""JSON responses."""

from typing import Any

import msgspec
from starlette.responses import Response

from cartapp.cart import Cart, amount_from_cents


class MsgspecResponse(Response):
    """A response encoded by msgspec; strings are UTF-8 and not escaped."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the value."""
        return msgspec.json.encode(content)


def cart_response(cart: Cart) -> MsgspecResponse:
    """Return the whole cart, the response of every cart operation."""
    return MsgspecResponse(
        {
            "items": [
                {
                    "product_id": item.product_id,
                    "name": item.name,
                    "price": amount_from_cents(item.price),
                    "quantity": item.quantity,
                    "subtotal": amount_from_cents(item.subtotal),
                }
                for item in cart.items
            ],
            "item_count": cart.item_count,
            "unique_items": cart.unique_items,
            "total": amount_from_cents(cart.total),
        }
    )
