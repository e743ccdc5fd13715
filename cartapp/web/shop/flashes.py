"""Flashes of the shop's pages. The message of a removal has an Undo button in a form with the removed lines.

No session keeps removed lines after their message was shown, and undo needs no script.
"""

import json
import secrets
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from cartapp.cart import CartItem, amount_from_cents
from cartapp.messages import Message
from cartapp.session import Session

FLASH_OF_CART, FLASH_OF_PREFERENCES, FLASH_OF_PROFILE = "cart", "preferences", "message"
"""Flash keys, one for each page that shows flashes."""

_MOST = 60 * 1024  # bytes of the body of a form; the limit is 64 KiB


class Undo(NamedTuple):
    """The fields of an Undo form."""

    items: str
    """JSON, for `CartRestore`."""
    idempotency_key: str


class Flash(NamedTuple):
    """A message on a page."""

    message: Message
    category: str
    undo: Undo | None = None


def flash_removal(session: Session, message: Message, removed: dict[int, CartItem]) -> None:
    """Queue the message of a removal; `removed` has the lines by position.

    With too many for a form, there is no Undo button.
    """
    flash: Any = message.to_session()
    lines = [_as_field(position, item) for position, item in removed.items()]
    items = json.dumps(lines, ensure_ascii=False, separators=(",", ":"))
    if len(quote_plus(items)) <= _MOST:
        undo = {"items": items, "idempotency_key": secrets.token_urlsafe(8)}
        flash = {"template": message.template, "values": dict(message.values), "undo": undo}
    session.flash(FLASH_OF_CART, flash, "success")


async def take_flashes(session: Session, key: str) -> list[Flash]:
    """Take all messages for this page; no other request gets them.

    Call it after all other I/O of the page: if that fails, the messages stay for the next page.
    """
    return [_from_session(stored, category) for stored, category in await session.take_flashes(key)]


def _from_session(stored: Any, category: str | None) -> Flash:
    undo = Undo(**stored["undo"]) if isinstance(stored, dict) and "undo" in stored else None
    return Flash(Message.from_session(stored), category or "info", undo)


def _as_field(position: int, item: CartItem) -> dict[str, Any]:
    return {
        "product_id": item.product_id,
        "name": item.name,
        "price": amount_from_cents(item.price),
        "quantity": item.quantity,
        "position": position,
    }
