"""What a request must satisfy before anything else reads it."""

from collections.abc import Awaitable, Collection
from typing import Literal

from starlette.types import ASGIApp, Receive, Scope, Send

from .body_limit import has_large_body, limit_body, too_large
from .cookie_limit import limit_cookies
from .cross_origin import CrossOriginCheck
from .forwarded import ForwardedHeaders, Network
from .remember_me import RememberMe


class RequestMiddleware:
    """Apply the headers of trusted proxies, reject large bodies and other sites, and read the device.

    The session is inside, so that a rejected request costs no store operation.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        proxies: Collection[Network],
        origins: Collection[str],
        secure: bool | Literal["auto"],
    ) -> None:
        self.app = app
        self._forwarded = ForwardedHeaders(trusted=proxies)
        self._cross_origin = CrossOriginCheck(trusted=origins)
        self._remember_me = RememberMe(secure=secure)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            return self.app(scope, receive, send)
        self._forwarded.apply(scope)
        if has_large_body(scope):
            return too_large(scope)(scope, receive, send)
        limit_cookies(scope)
        rejection = self._cross_origin.rejection(scope)
        if rejection is not None:
            return rejection(scope, receive, send)
        if scope["type"] == "http":
            scope["device"] = self._remember_me.device(scope)
            receive = limit_body(scope, receive)
        return self.app(scope, receive, send)
