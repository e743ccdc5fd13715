"""Refuses what another site makes a visitor's browser send: the algorithm of Go 1.25's CrossOriginProtection.

No tokens: browsers say where a request comes from. There are no exceptions by path (CVE-2025-47910).
"""

import re
from collections.abc import Awaitable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import error_response
from ..headers import header_of

Origin = tuple[str, str, int]
"""Scheme, host and port."""

_TELLING = (b"origin", b"sec-fetch-site")
_SAFE = ("GET", "HEAD", "OPTIONS")
_ORIGIN = re.compile(
    r"(https?)://([a-z0-9._~%!$&'()*+,;=-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE
)
_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


def parse_origin(text: str) -> Origin | None:
    """An origin as browsers write it; None for anything else, such as `null`."""
    matched = _ORIGIN.fullmatch(text)
    if matched is None:
        return None
    scheme = matched[1].lower()
    return scheme, matched[2].lower(), int(matched[3]) if matched[3] else _PORTS[scheme]


def is_same_origin(scope: Scope, trusted: Collection[Origin] = ()) -> bool:
    """Whether an unsafe request comes from our own pages, a trusted origin, or no browser at all."""
    told = [header for header in scope["headers"] if header[0] in _TELLING]
    if not told:
        return True  # a program, or a browser older than 2020 on a page of its own site
    origins = [value.decode("latin-1") for key, value in told if key == b"origin"]
    sites = [value.decode("latin-1") for key, value in told if key == b"sec-fetch-site"]
    origin = parse_origin(origins[0]) if len(origins) == 1 else None
    if origin is not None and origin in trusted:
        return True
    if sites:
        return sites in (["same-origin"], ["none"])
    scheme = scope.get("scheme", "http")
    own = parse_origin(f"{_SCHEMES.get(scheme, scheme)}://{header_of(scope, b'host')}")
    return origin is not None and origin == own


class CrossOriginCheck:
    """Answers 403 for unsafe methods and WebSocket handshakes that other sites cause."""

    def __init__(self, app: ASGIApp, *, trusted: Collection[str] = ()) -> None:
        self.app = app
        self._trusted = frozenset(origin for text in trusted if (origin := parse_origin(text)) is not None)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if self._passes(scope):
            return self.app(scope, receive, send)
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            return send({"type": "websocket.close", "code": 1008})  # servers answer 403 to the handshake
        response = error_response(scope, 403, "Requests from other sites are not allowed")
        return response(scope, receive, send)

    def _passes(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return is_same_origin(scope, self._trusted)
        return scope["type"] != "http" or scope["method"] in _SAFE or is_same_origin(scope, self._trusted)
