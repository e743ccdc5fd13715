"""Answers in JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from cartapp.cart import Cart, number_of

_TYPE = (b"content-type", b"application/json")


class JSONAnswer(Response):
    """A value as JSON; strings are UTF-8 and not escaped."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The value as bytes."""
        return msgspec.json.encode(content)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """As in `Response`, which finds out anew what is the same for every JSON answer."""
        if headers is not None:
            super().init_headers(headers)
            return
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), _TYPE]


def cart_answer(cart: Cart) -> JSONAnswer:
    """The whole cart, as every cart operation answers."""
    return JSONAnswer(
        {
            "items": [
                {
                    "product_id": item.product_id,
                    "name": item.name,
                    "price": number_of(item.price),
                    "quantity": item.quantity,
                    "subtotal": number_of(item.subtotal),
                }
                for item in cart.items
            ],
            "item_count": cart.item_count,
            "unique_items": cart.unique_items,
            "total": number_of(cart.total),
        }
    )
