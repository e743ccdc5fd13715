"""Flashes of the shop's pages. The message of a removal has an Undo button in a form with the removed lines.

No session keeps removed lines after their message was shown, and undo needs no script.
"""

import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from msgspec.structs import astuple

from cartapp.cart import CartItem, amount_from_cents
from cartapp.messages import Message, _
from cartapp.session import Session, SessionTooLarge

FLASH_OF_CART, FLASH_OF_PREFERENCES, FLASH_OF_PROFILE = "cart", "preferences", "message"
"""Flash keys, one for each page that shows flashes."""

CART_CLEARED = _("Cart cleared")
_WITHOUT_UNDO = {CART_CLEARED: _("Cart cleared; it was too large for an Undo button")}
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
    lines = [[position, *astuple(item)] for position, item in removed.items()]
    undo = {"lines": lines, "idempotency_key": secrets.token_urlsafe(8)}
    flash = {"template": message.template, "values": dict(message.values), "undo": undo}
    fits = len(quote_plus(_as_field(lines))) <= _MOST
    session.flash(FLASH_OF_CART, flash if fits else _without_undo(flash), "success")


async def save_with_flashes(session: Session, change: Callable[[], None]) -> None:
    """Commit the changes and flashes that `change` records. Raises what `Session.save` raises.

    If the session would be too large, `change` runs again without the Undo forms, then without any flash: a
    full cart could not be reduced if the message of a removal took more room than the removed line.
    """
    for shorten in (_keep_flashes, _drop_undo_forms):
        change()
        shorten(session)
        try:
            return await session.save()
        except SessionTooLarge:
            continue
    change()
    session.flashes()
    return await session.save()


async def take_flashes(session: Session, key: str) -> list[Flash]:
    """Take all messages for this page; no other request gets them.

    Call it after all other I/O of the page: if that fails, the messages stay for the next page.
    """
    return [_from_session(stored, category) for stored, category in await session.take_flashes(key)]


def _keep_flashes(session: Session) -> None:
    """Do nothing."""


def _drop_undo_forms(session: Session) -> None:
    for flash, category in session.flashes(FLASH_OF_CART):
        session.flash(FLASH_OF_CART, _without_undo(flash) if _has_undo(flash) else flash, category)


def _has_undo(flash: Any) -> bool:
    return isinstance(flash, dict) and "undo" in flash


def _without_undo(flash: dict[str, Any]) -> Any:
    template = flash["template"]
    return Message(_WITHOUT_UNDO.get(template, template), **flash["values"]).to_session()


def _from_session(stored: Any, category: str | None) -> Flash:
    undo = None
    if _has_undo(stored):
        undo = Undo(_as_field(stored["undo"]["lines"]), stored["undo"]["idempotency_key"])
    return Flash(Message.from_session(stored), category or "info", undo)


def _as_field(lines: Iterable[list[Any]]) -> str:
    """Return removed lines, which a session keeps without the names of their fields, as JSON text."""
    items = [
        {
            "product_id": product_id,
            "name": name,
            "price": amount_from_cents(price),
            "quantity": quantity,
            "position": position,
        }
        for position, product_id, name, price, quantity in lines
    ]
    return json.dumps(items, ensure_ascii=False, separators=(",", ":"))
