"""Security headers of every response: from the router, static files or middleware."""

from collections.abc import Awaitable

from starlette.types import Message, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",  # no inline script or style, no other origin
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


class SecurityHeaders:
    """`HEADERS` encoded; with `hsts` also `Strict-Transport-Security`, on https only (RFC 6797, 7.2)."""

    def __init__(self, *, hsts: bool) -> None:
        self._plain = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        self._https = [*self._plain, _HSTS] if hsts else self._plain

    def headers(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return the headers for a response to this request."""
        return self._https if scope.get("scheme") in ("https", "wss") else self._plain

    def wrap(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that adds them to the response that rejects a WebSocket."""

        def with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "websocket.http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers(scope)]
            return send(message)

        return with_headers
