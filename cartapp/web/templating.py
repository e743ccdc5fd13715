"""Pages from templates, in the language of the request. All values are escaped."""

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import Scope

from cartapp.cart import MAX_QUANTITY
from cartapp.resources import folder

from . import preference_cookies
from .i18n.formatter import LocaleFormatter, formatter_for
from .i18n.languages import page_language
from .root_path import get_root_path, get_route_path
from .shop.pictures import get_picture
from .shop.session_data import get_cart, get_preferences
from .static import static_url

_FILTERS = ("money", "number", "moment", "ago", "browser", "product", "text", "translate")


def page(template: str, scope: Scope, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """Render a page in the common layout."""
    html = _environment().get_template(template).render(_frame(scope) | context)
    return HTMLResponse(html, status)


def get_formatter(scope: Scope) -> LocaleFormatter:
    """The formatter for a request; of the session only what is loaded is asked."""
    return formatter_for(page_language(_known(scope).get("language"), Headers(scope=scope)))


def get_theme(scope: Scope) -> str:
    """Return the theme of the session, else of the cookie; of the device while the session is unknown."""
    default = get_preferences({})["theme"] if _is_loaded(scope) else "auto"
    theme: str = _known(scope).get("theme") or preference_cookies.get_theme(Headers(scope=scope)) or default
    return theme


def _frame(scope: Scope) -> dict[str, Any]:
    """Return the values of the layout: language, theme, badge and user, if known."""
    return {
        "l10n": get_formatter(scope),
        "theme": get_theme(scope),
        "item_count": _item_count(scope),
        "user": scope.get("state", {}).get("user"),
        "root": get_root_path(scope),
        "path": get_route_path(scope),
        "is_development": not scope["app"].state.settings.production,
        "flashes": [],
        "problem": None,
    }


def _item_count(scope: Scope) -> int | None:
    """Return the number at the link to the cart; in a closed shop, only a page with offers knows it."""
    if not _is_loaded(scope) or scope["app"].state.shop_catalogue.is_closed:
        return None
    return get_cart(scope["session"]).item_count


def _known(scope: Scope) -> Any:
    return scope["session"] if _is_loaded(scope) else {}


def _is_loaded(scope: Scope) -> bool:
    """Return whether the session is loaded; it is not if a page needs none or during an outage."""
    return "session" in scope and scope["session"].loaded


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.globals.update(static=_static, picture=get_picture, max_quantity=MAX_QUANTITY)
    environment.filters.update({name: _filter(name) for name in _FILTERS})
    environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
    return environment


# One environment serves all languages: texts and filters take the formatter from the context.


def _filter(name: str) -> Callable[..., str]:
    @pass_context
    def say(context: Context, value: Any) -> str:
        said: str = getattr(context["l10n"], name)(value)
        return said

    return say


@pass_context
def _static(context: Context, path: str) -> str:
    root: str = context["root"]
    return root + static_url(path)


@pass_context
def _gettext(context: Context, text: str) -> str:
    said: str = context["l10n"].texts.gettext(text)
    return said


@pass_context
def _ngettext(context: Context, one: str, many: str, number: int) -> str:
    said: str = context["l10n"].texts.ngettext(one, many, number)
    return said
