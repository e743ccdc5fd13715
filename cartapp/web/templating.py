"""Pages from the templates. Everything put into them is escaped."""

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import Scope

from cartapp.resources import folder

from .languages import page_language
from .static import static_url


def money(cents: int) -> str:
    """The amount as the pages print it."""
    return f"${cents / 100:,.2f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = money
    environment.globals["static"] = static_url
    return environment


def page(template: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page. `base.html` needs `language` and `theme`, and shows `item_count` and `flashes` where given."""
    html = _environment().get_template(template).render(context)
    return HTMLResponse(html, status)


def plain_page(template: str, scope: Scope, context: dict[str, Any], status: int = 200) -> HTMLResponse:
    """A page that knows no session: its language is the cookie's or the browser's."""
    language = page_language(None, Headers(scope=scope))
    return page(template, {"language": language, "theme": "auto", **context}, status)
