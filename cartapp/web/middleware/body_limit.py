"""A limit for request bodies, with or without `Content-Length`."""

from starlette.types import ASGIApp, Receive, Scope
from starlette.types import Message as ASGIMessage

from cartapp.messages import Message, _

from ..errors import APIError, error_response
from ..headers import get_header

MAX_BODY = 64 * 1024
"""Bytes in a request's body."""

_TOO_LARGE = Message(_("The body is too large: the limit is {limit} bytes (64 KiB)"), limit=MAX_BODY)


def has_large_body(scope: Scope) -> bool:
    """Return whether the request announces a body above `MAX_BODY`."""
    announced = get_header(scope, b"content-length")
    return announced.isdecimal() and (len(announced) > 20 or int(announced) > MAX_BODY)


def too_large(scope: Scope) -> ASGIApp:
    """Return the response to such a request."""
    return error_response(scope, 413, _TOO_LARGE, headers=_closing(scope))


def limit_body(scope: Scope, receive: Receive) -> Receive:
    """Return a `receive` that raises `APIError` with 413 when the body exceeds the limit."""
    size = 0

    async def counted_receive() -> ASGIMessage:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise APIError(413, _TOO_LARGE, headers=_closing(scope))  # raised where the body is read
        return message

    return counted_receive


def _closing(scope: Scope) -> dict[str, str]:
    """Tell the client that the rest of the body is not read; HTTP/2 has no such header."""
    return {"Connection": "close"} if scope.get("http_version", "1.1").startswith("1") else {}
