"""Security headers on every answer, whoever made it: router, static files or another layer."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",  # no inline script, no inline style, nothing from elsewhere
        "img-src 'self' data:",  # Swagger UI's stylesheet holds its icons as data
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms (Fetch, section 3.2).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_STARTS = ("http.response.start", "websocket.http.response.start")


class SecurityHeaders:
    """Adds the headers; with `hsts` also `Strict-Transport-Security`, on https only (RFC 6797, 7.2)."""

    def __init__(self, app: ASGIApp, *, hsts: bool) -> None:
        self.app = app
        self._plain = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        self._https = [*self._plain, _HSTS] if hsts else self._plain

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] not in ("http", "websocket"):
            return self.app(scope, receive, send)
        added = self._https if scope.get("scheme") in ("https", "wss") else self._plain

        def with_headers(message: Message) -> Awaitable[None]:
            if message["type"] in _STARTS:
                message["headers"] = [*message.get("headers", ()), *added]
            return send(message)

        return self.app(scope, receive, with_headers)
