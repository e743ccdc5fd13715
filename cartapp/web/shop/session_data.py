"""The shop's data in a visitor's session: getters and changes."""

from collections.abc import Callable, Mapping
from typing import Any

from cartapp.cart import Cart
from cartapp.messages import _
from cartapp.session import Session

from ..schemas.requests import PreferencesUpdate, ProfileUpdate

_CART, _PROFILE, _SENT = "cart", "profile", "_sent"
_MOST_SENT = 10  # keys that are kept; a second click follows soon
_DEFAULTS: dict[str, Any] = PreferencesUpdate().model_dump()


SESSION_ENDED = _("Your previous session has ended; this is a new cart")


class DuplicateSubmission(Exception):
    """The same form was submitted before and has taken effect."""


def get_cart(session: Mapping[str, Any]) -> Cart:
    """Return the visitor's cart."""
    read = session.peek if isinstance(session, Session) else session.get
    return Cart.from_session(read(_CART, ()))


def change_cart(session: Session, change: Callable[[Cart], Cart]) -> None:
    """Change the cart with the next `save`; `change` runs again after a conflict with another request.

    Raises the exceptions of `change`, here and in `save`.
    """
    session.modify(_CART, lambda lines: change(Cart.from_session(lines)).to_session(), [])


def remove_cart(session: Session) -> None:
    """Clear the cart with the next `save`."""
    session.delete(_CART)


def check_idempotency_key(session: Session, form: str) -> None:
    """Record the idempotency key of a form with the next `save`; an empty key is not checked.

    Raises `DuplicateSubmission`, here or in `save`: of two concurrent equal forms, one takes effect.
    """

    def remembering(sent: list[str]) -> list[str]:
        if form in sent:
            raise DuplicateSubmission
        return [*sent, form][-_MOST_SENT:]

    if form:
        session.modify(_SENT, remembering, [])


def get_preferences(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return the visitor's preferences, or their defaults."""
    return {name: session.get(name, default) for name, default in _DEFAULTS.items()}


def set_preferences(session: Session, preferences: PreferencesUpdate) -> None:
    """Store each preference under its own key, so that changes of different ones never conflict."""
    session.update(preferences.model_dump())


def count_visit(session: Session) -> None:
    """Increment the visit counter with the next `save`."""
    session.modify("visit_count", lambda count: count + 1, 0)


def get_profile(session: Session) -> dict[str, str]:
    """Return a guest's name and e-mail address; empty if unknown."""
    known: dict[str, str] = session.get(_PROFILE, {})
    return {"name": "", "email": ""} | known


def change_profile(session: Session, profile: ProfileUpdate) -> None:
    """Store the submitted fields of the profile, and keep the others."""
    sent = profile.model_dump(include=profile.model_fields_set, exclude={"current_password"})
    session.modify(_PROFILE, lambda before: before | sent, {})
