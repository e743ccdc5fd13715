"""Keeps a `Cookie` header away from parsers that take quadratic time for it.

FastAPI reads `request.cookies` for every request, also where the route has no cookie parameters. The standard
library's unquoting behind it takes quadratic time for escapes on Python before 3.11.10.
"""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

_MAX_ESCAPES = 64
"""Backslashes in a `Cookie` line that are let through: few enough for any parser."""


class CookieLimit:
    """Drops the cookies that hold a backslash from a line with many backslashes.

    RFC 6265 has no backslashes. Servers that quote a value write a few, which stay.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] in ("http", "websocket"):
            for name, line in scope["headers"]:
                if name == b"cookie" and line.count(b"\\") > _MAX_ESCAPES:
                    scope["headers"] = [_limited(*header) for header in scope["headers"]]
                    break
        return self.app(scope, receive, send)


def _limited(name: bytes, line: bytes) -> tuple[bytes, bytes]:
    if name != b"cookie" or line.count(b"\\") <= _MAX_ESCAPES:
        return name, line
    return name, b";".join(pair for pair in line.split(b";") if b"\\" not in pair)
