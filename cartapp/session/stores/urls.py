"""URLs of stores, and the servers that they name."""

import re
from urllib.parse import SplitResult, urlsplit

from ..errors import InvalidStoreURL

WRONG_PORT = "A store's URL has a port that is no number from 1 to 65535."

_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


def split_url(url: str) -> SplitResult:
    """A URL's parts, by the expression of RFC 3986, appendix B, which every text matches.

    `urlsplit` of newer Pythons wants one server, and refuses `one,[::1]`.
    """
    found = _PARTS.fullmatch(url)
    assert found is not None  # noqa: S101 - as the RFC says
    scheme, *parts = (part or "" for part in found.groups())
    return SplitResult(scheme.lower(), *parts)


def hosts_in(text: str, port: int) -> tuple[tuple[str, int], ...]:
    """Name and port of each server in `host[:port][,host[:port]…]`; `port` is for those that have none.

    Raises `InvalidStoreURL`.
    """
    parts = text.split(",")
    if len(parts) > 1 and "" in parts:
        raise InvalidStoreURL("A store's URL has a comma with no server beside it.")
    return tuple(_host(part, port) for part in parts)


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        part = urlsplit(f"//{text}")
    except ValueError:
        raise InvalidStoreURL("A store's URL names a server that is none.") from None
    try:
        given = port if part.port is None else part.port
    except ValueError:
        given = 0
    if given == 0:
        raise InvalidStoreURL(WRONG_PORT)
    return part.hostname or "localhost", given
