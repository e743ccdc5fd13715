"""What the shop keeps in a visitor's session, and the one way each part of it changes."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request

from cartapp.cart import Cart
from cartapp.session import CookieOptions, Session
from cartapp.session.cookies import cookie_values

from .inputs import Preferences, Profile

_CART, _PROFILE, _SENT = "cart", "profile", "_sent"
_MOST_SENT = 10  # forms that are remembered; a second click comes at once
_DEFAULTS: dict[str, Any] = Preferences().model_dump()


class AlreadySent(Exception):
    """The very same form came before, and was carried out then."""


def cart_of(session: Mapping[str, Any]) -> Cart:
    """The visitor's cart."""
    return Cart.from_session(session.get(_CART, ()))


def change_cart(session: Session, change: Callable[[Cart], Cart]) -> None:
    """Change the cart with the next `save`; `change` runs again when another request got in between.

    Raises what `change` raises, from here and from `save`.
    """
    session.modify(_CART, lambda lines: change(Cart.from_session(lines)).to_session(), [])


def clear_cart(session: Session) -> None:
    """Empty the cart with the next `save`."""
    session.delete(_CART)


def send_once(session: Session, form: str) -> None:
    """Remember with the next `save` that this form was carried out; an empty name is no form's.

    Raises `AlreadySent`, from here or from `save`: of two equal forms that come at once, one is carried out.
    """

    def remembering(sent: list[str]) -> list[str]:
        if form in sent:
            raise AlreadySent
        return [*sent, form][-_MOST_SENT:]

    if form:
        session.modify(_SENT, remembering, [])


def has_expired(request: Request, session: Session) -> bool:
    """Whether the browser still holds the cookie of a session that has ended."""
    if not session.is_new:
        return False
    cookie: CookieOptions = request.app.state.session_cookie
    name = cookie.name_for(request.scope.get("scheme") == "https")
    return bool(cookie_values(request.scope["headers"], name))


def preferences_of(session: Mapping[str, Any]) -> dict[str, Any]:
    """The visitor's preferences, or their defaults."""
    return {name: session.get(name, default) for name, default in _DEFAULTS.items()}


def set_preferences(session: Session, preferences: Preferences) -> None:
    """Keep the preferences, each under its own key: two requests that change different ones never meet."""
    session.update(preferences.model_dump())


def count_visit(session: Session) -> None:
    """One visit more, with the next `save`."""
    session.modify("visit_count", lambda count: count + 1, 0)


def profile_of(session: Session) -> dict[str, str]:
    """A guest's name and e-mail address; empty where nothing is known."""
    known: dict[str, str] = session.get(_PROFILE, {})
    return {"name": "", "email": ""} | known


def change_profile(session: Session, profile: Profile) -> None:
    """Keep what was sent of the profile, and what was there before of the rest."""
    sent = profile.model_dump(include=profile.model_fields_set, exclude={"current_password"})
    session.modify(_PROFILE, lambda before: before | sent, {})
