"""Pages of this shop that a client names, in a field or a header."""

from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from .root_path import get_root_path, get_route_path
from .schemas.account_requests import own_path


def own_page(scope: Scope, text: str) -> str | None:
    """Return the path if it is a page of this shop, else None.

    A redirect to a path for POST alone, such as `/logout`, would end in "Method not allowed".
    """
    path = own_path(text)
    if path is None:
        return None
    asked = unquote(path.partition("?")[0].partition("#")[0])
    get = {"type": "http", "method": "GET", "path": asked, "root_path": "", "headers": []}
    found = any(route.matches({**get})[0] is Match.FULL for route in scope["app"].routes)
    return path if found else None


def page_of_form(scope: Scope) -> str | None:
    """Return the page from which a form was submitted, for a link that repeats no request.

    That is the page of the `Referer` header (RFC 9110, section 10.1.3), else the page above the form's path:
    `/cart` for `/cart/add`.
    """
    headers, root = Headers(scope=scope), get_root_path(scope)
    sent = urlsplit(headers.get("referer", "")) if len(headers.get("referer", "")) < _MAX_REFERER else None
    if sent and sent.netloc == headers.get("host") and sent.path.startswith(f"{root}/"):
        query = f"?{sent.query}" if sent.query else ""
        if found := own_page(scope, sent.path.removeprefix(root) + query):
            return found
    return own_page(scope, "/" + get_route_path(scope).split("/")[1])


_MAX_REFERER = 2000  # characters
