"""The responses that the server itself makes, before the application has a request."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from cartapp.web.layers.security_headers import HEADERS

_RETRY_AFTER: Final = 1  # seconds
_FIXED: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Connection": "close",
    **HEADERS,
}


class Refusal(Exception):
    """A request that the server does not take: a status, and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def response_to(refusal: Refusal, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The whole response, with these headers more."""
    status = HTTPStatus(refusal.status)
    body = json.dumps({"error": refusal.sentence}).encode()
    fixed = {**_FIXED, "Content-Length": str(len(body))}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        fixed["Retry-After"] = str(_RETRY_AFTER)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [b"%s: %s" % header for header in headers]
    lines += [f"{name.lower()}: {value}".encode() for name, value in fixed.items()]
    return b"\r\n".join([*lines, b"", body])
