"""Compression of pages and assets, where the length of a response reveals nothing (BREACH, CVE-2013-3587).

Another site can make a browser request a page with input of its choice in the query. If the page also shows
something private, such as the user's name, the compressed length shows how similar the two are. Responses to
a GET with a query are therefore never compressed. Forms of other sites are rejected before.
"""

from collections.abc import Awaitable

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..root_path import get_route_path

_MIN_SIZE = 1024  # bytes; smaller responses fit into one packet
_LEVEL = 6  # of 9


class Compression:
    """Compress by gzip; JSON responses of the API are left alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._gzip = GZipMiddleware(app, minimum_size=_MIN_SIZE, compresslevel=_LEVEL)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        return (self._gzip if _is_compressible(scope) else self.app)(scope, receive, send)


def _is_compressible(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    headers, path = Headers(scope=scope), get_route_path(scope)
    if path.startswith("/static/") or path == "/openapi.json":
        return "range" not in headers  # a range is one of the file, not of its compressed form
    is_page = "text/html" in headers.get("accept", "")
    return is_page and not (scope["method"] in ("GET", "HEAD") and scope["query_string"])
