"""Pages from the templates, in the language of whoever asks. Everything put into them is escaped."""

from collections.abc import Callable
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import Scope

from cartapp.resources import folder

from .closed import is_closed
from .languages import page_language
from .pictures import picture_of
from .static import static_url
from .visitor import cart_of, preferences_of
from .wording import Wording, wording

_FILTERS = ("money", "number", "moment", "ago", "browser", "product", "sentence", "text")


def page(template: str, scope: Scope, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page within the frame that all share."""
    html = _environment().get_template(template).render(_frame(scope) | context)
    return HTMLResponse(html, status)


def wording_of(scope: Scope) -> Wording:
    """The wording for a request; of the session only what is loaded is asked."""
    return wording(page_language(_known(scope).get("language"), Headers(scope=scope)))


def _frame(scope: Scope) -> dict[str, Any]:
    """What every page shows: language, theme, badge and user, as far as they are known."""
    known = _known(scope)
    return {
        "say": wording_of(scope),
        "theme": preferences_of(known)["theme"] if _is_loaded(scope) else "auto",
        "item_count": _item_count(scope),
        "user": scope.get("state", {}).get("user"),
        "path": scope["path"],
        "flashes": [],
        "problem": None,
    }


def _item_count(scope: Scope) -> int | None:
    """The number beside the link to the cart; where the catalogue is closed, its page works that out."""
    return cart_of(scope["session"]).item_count if _is_loaded(scope) and not is_closed(scope) else None


def _known(scope: Scope) -> Any:
    return scope["session"] if _is_loaded(scope) else {}


def _is_loaded(scope: Scope) -> bool:
    """Not so on pages that need no session, and on those that say that it cannot be reached."""
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
    environment.globals.update(static=static_url, picture=picture_of)
    environment.filters.update({name: _filter(name) for name in _FILTERS})
    environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
    return environment


# One environment serves all languages: texts and filters ask the page which it is in.


def _filter(name: str) -> Callable[..., str]:
    @pass_context
    def say(context: Context, value: Any) -> str:
        said: str = getattr(context["say"], name)(value)
        return said

    return say


@pass_context
def _gettext(context: Context, text: str) -> str:
    said: str = context["say"].texts.gettext(text)
    return said


@pass_context
def _ngettext(context: Context, one: str, many: str, number: int) -> str:
    said: str = context["say"].texts.ngettext(one, many, number)
    return said
