"""URLs of a shop that a proxy serves under a path: ASGI's `root_path`, such as `/shop`.

`root_path` is also the beginning of `path` in the scope, and is empty without such a proxy.
"""

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import Scope


def get_root_path(scope: Scope) -> str:
    """Return the prefix of the shop's own URLs; empty without one."""
    root: str = scope.get("root_path", "")
    return root


def get_route_path(scope: Scope) -> str:
    """Return the path within the shop, as its routes know it."""
    path: str = scope["path"]
    return path.removeprefix(get_root_path(scope))


def redirect(request: Request, path: str) -> RedirectResponse:
    """Redirect to a page of the shop by GET (RFC 9110, section 15.4.4)."""
    return RedirectResponse(get_root_path(request.scope) + path, 303)
