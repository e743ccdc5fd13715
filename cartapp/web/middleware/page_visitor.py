"""The session and its user for a page, loaded before routing."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from cartapp.accounts import Accounts
from cartapp.session import StoreUnavailable

from ..negotiation import prefers_page
from ..root_path import get_route_path

_SKIPPED = ("/static/", "/inspect")


class PageVisitor:
    """Load the session and its user for requests that get errors as pages.

    A page for "Not found" or "Method not allowed" has no handler with dependencies, but is in the visitor's
    language and shows the cart and the log-in. During an outage it does without; a handler that needs the
    session or the user reports the outage.
    """

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self.app = app
        self._accounts = accounts

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] != "http" or not prefers_page(scope) or get_route_path(scope).startswith(_SKIPPED):
            return self.app(scope, receive, send)
        return self._with_visitor(scope, receive, send)

    async def _with_visitor(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        try:
            session = await scope["session"].load()
            if session.user_id is not None:
                state["user"] = await self._accounts.get_user(session.user_id)
        except StoreUnavailable as error:
            state["visitor_error"] = error
        await self.app(scope, receive, send)
