"""Cross-site request forgery protection: the algorithm of Go 1.25's CrossOriginProtection.

No tokens: browsers send the origin of a request. There are no exceptions by path (CVE-2025-47910).
"""

import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from cartapp.messages import _

from ..errors import error_response, logger
from ..headers import get_header

Origin = tuple[str, str, int]
"""Scheme, host and port."""

_ORIGIN_HEADERS = (b"origin", b"sec-fetch-site")
_SAFE = ("GET", "HEAD", "OPTIONS")
_ORIGIN = re.compile(
    r"(https?)://([a-z0-9._~%!$&'()*+,;=-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE
)
_PORTS = {"http": 80, "https": 443}
_SCHEMES = {"ws": "http", "wss": "https"}


def parse_origin(text: str) -> Origin | None:
    """Parse an origin as browsers send it; None for anything else, such as `null`."""
    matched = _ORIGIN.fullmatch(text)
    if matched is None:
        return None
    scheme = matched[1].lower()
    return scheme, matched[2].lower(), int(matched[3]) if matched[3] else _PORTS[scheme]


def is_same_origin(scope: Scope, trusted: Collection[Origin] = ()) -> bool:
    """Return whether an unsafe request comes from our own pages, a trusted origin, or no browser."""
    sent = [header for header in scope["headers"] if header[0] in _ORIGIN_HEADERS]
    if not sent:
        return True  # a program, or a browser older than 2020 on a page of its own site
    origins = [value.decode("latin-1") for key, value in sent if key == b"origin"]
    sites = [value.decode("latin-1") for key, value in sent if key == b"sec-fetch-site"]
    origin = parse_origin(origins[0]) if len(origins) == 1 else None
    if origin is not None and origin in trusted:
        return True
    if sites:
        return sites in (["same-origin"], ["none"])
    scheme = scope.get("scheme", "http")
    own = parse_origin(f"{_SCHEMES.get(scheme, scheme)}://{get_header(scope, b'host')}")
    return origin is not None and origin == own


def explain(scope: Scope) -> tuple[str, str] | None:
    """Explain why our own pages may have been rejected: a kind, and a sentence for the operator.

    None if the browser itself reports another site.
    """
    if get_header(scope, b"sec-fetch-site"):
        return None
    origin = parse_origin(get_header(scope, b"origin"))
    if origin is None:
        return None
    scheme, host = scope.get("scheme", "http"), get_header(scope, b"host")
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
    """Reject unsafe methods and WebSocket handshakes from other sites with 403.

    Behind a proxy that changes `Host`, our own forms look like another site's; a warning explains the first
    rejection of each kind.
    """

    def __init__(self, *, trusted: Collection[str] = ()) -> None:
        self._explained: set[str] = set()
        self._trusted = frozenset(origin for text in trusted if (origin := parse_origin(text)) is not None)

    def rejection(self, scope: Scope) -> ASGIApp | None:
        """Return the response to a request from another site; None if the request is allowed."""
        is_websocket = scope["type"] == "websocket"
        if (not is_websocket and scope["method"] in _SAFE) or is_same_origin(scope, self._trusted):
            return None
        self._explain(scope)
        if is_websocket and "websocket.http.response" not in scope.get("extensions", {}):
            return _close
        return error_response(scope, 403, _("Requests from other sites are not allowed"))

    def _explain(self, scope: Scope) -> None:
        kind, sentence = explain(scope) or (None, "")
        if kind is not None and kind not in self._explained:
            self._explained.add(kind)
            origin = get_header(scope, b"origin")
            logger.warning("Rejected as cross-site: a request with the origin %s. %s", origin, sentence)


async def _close(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})  # the server sends 403
