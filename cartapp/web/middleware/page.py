"""What pages and assets need, and the JSON API does not."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from cartapp.accounts import Accounts

from ..root_path import get_route_path
from .compression import Compression
from .head import Head
from .page_visitor import PageVisitor


class PageMiddleware:
    """Load the visitor, run GET for HEAD, and compress; requests below `/api/` get HEAD only."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self.app = app
        # Compression is inside `Head`, which keeps the headers of GET.
        self._page = PageVisitor(Head(Compression(app)), accounts=accounts)
        self._api = Head(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        is_api = scope["type"] == "http" and get_route_path(scope).startswith("/api/")
        return (self._api if is_api else self._page)(scope, receive, send)
