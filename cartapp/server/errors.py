"""Error responses of the server to requests that do not reach the application."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from cartapp.web.middleware.security_headers import HEADERS

_RETRY_AFTER: Final = 1  # seconds
_FIXED: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Connection": "close",
    **HEADERS,
}


class HTTPError(Exception):
    """Rejected request: status code and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def encode_response(error: HTTPError, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode the response, with additional headers."""
    status = HTTPStatus(error.status)
    body = json.dumps({"error": error.message}).encode()
    fixed = {**_FIXED, "Content-Length": str(len(body))}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        fixed["Retry-After"] = str(_RETRY_AFTER)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [b"%s: %s" % header for header in headers]
    lines += [f"{name.lower()}: {value}".encode() for name, value in fixed.items()]
    return b"\r\n".join([*lines, b"", body])
