"""Refuses what another site makes a visitor's browser send: the algorithm of Go 1.25's CrossOriginProtection.

No tokens: browsers say where a request comes from. There are no exceptions by path (CVE-2025-47910).
"""

import re
from collections.abc import Awaitable, Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import error_response, logger
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


def explain(scope: Scope) -> tuple[str, str] | None:
    """Why the origin of our own pages may have been refused: a kind, and a sentence for the operator.

    None where the browser itself says that another site has sent the request.
    """
    if header_of(scope, b"sec-fetch-site"):
        return None
    origin = parse_origin(header_of(scope, b"origin"))
    if origin is None:
        return None
    scheme, host = scope.get("scheme", "http"), header_of(scope, b"host")
    own = parse_origin(f"{_SCHEMES.get(scheme, scheme)}://{host}")
    if own is None:
        return "none", "The request has no usable Host header: a proxy must pass on the one it gets."
    if own[1] != origin[1]:
        return "host", (
            f"The Host header is {host}: if the origin is this shop's, its proxy must pass on the Host that "
            "it gets, or CART_TRUSTED_ORIGINS must name the origin."
        )
    if own[0] != origin[0]:
        return "scheme", (
            f"The request came by {own[0]}: if a proxy takes https for this server, it must send "
            "X-Forwarded-Proto and CART_TRUSTED_PROXIES must name it."
        )
    return "port", f"The Host header is {host}, with another port: a proxy must pass on Host with its port."


class CrossOriginCheck:
    """Answers 403 for unsafe methods and WebSocket handshakes that other sites cause.

    A proxy that changes `Host` makes our own forms look like another site's; so a warning explains the first
    refusal of each kind.
    """

    def __init__(self, app: ASGIApp, *, trusted: Collection[str] = ()) -> None:
        self.app = app
        self._explained: set[str] = set()
        self._trusted = frozenset(origin for text in trusted if (origin := parse_origin(text)) is not None)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if self._passes(scope):
            return self.app(scope, receive, send)
        self._explain(scope)
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            return send({"type": "websocket.close", "code": 1008})  # servers answer 403 to the handshake
        response = error_response(scope, 403, "Requests from other sites are not allowed")
        return response(scope, receive, send)

    def _explain(self, scope: Scope) -> None:
        kind, sentence = explain(scope) or (None, "")
        if kind is not None and kind not in self._explained:
            self._explained.add(kind)
            origin = header_of(scope, b"origin")
            logger.warning("Refused as another site's: a request with the origin %s. %s", origin, sentence)

    def _passes(self, scope: Scope) -> bool:
        if scope["type"] == "websocket":
            return is_same_origin(scope, self._trusted)
        return scope["type"] != "http" or scope["method"] in _SAFE or is_same_origin(scope, self._trusted)
