"""A limit for request bodies, announced in `Content-Length` or not."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import Refused, error_response
from ..headers import header_of

MAX_BODY = 64 * 1024
"""Bytes in a request's body."""

_SENTENCE = f"The body is too large: the limit is {MAX_BODY} bytes (64 KiB)"


class BodyLimit:
    """Answers 413 at once for an announced length over the limit; else when reading passes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        announced = header_of(scope, b"content-length")
        if announced.isdecimal() and (len(announced) > 20 or int(announced) > MAX_BODY):
            return error_response(scope, 413, _SENTENCE, headers=_closing(scope))(scope, receive, send)
        size = 0

        async def counting() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise Refused(
                    413, _SENTENCE, headers=_closing(scope)
                )  # comes out of whatever is reading the body
            return message

        return self.app(scope, counting, send)


def _closing(scope: Scope) -> dict[str, str]:
    """Tell the client that the rest of the body is not read; HTTP/2 has no such header."""
    return {"Connection": "close"} if scope.get("http_version", "1.1").startswith("1") else {}
