"""URLs of stores: their parts and their servers."""

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ..errors import InvalidStoreURL

AMBIGUOUS_URL: Final = (
    "Invalid store URL. No part of it is shown, since it may belong to a password. "
    "Percent-encode special characters in user name, password and options, such as @ as %40."
)
INVALID_PORT: Final = "Invalid port in store URL: expected a number from 1 to 65535."

# RFC 3986, appendix B; it matches every text.
_PARTS: Final = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


def split_url(url: str) -> SplitResult:
    """Return a URL's parts.

    Unlike `urlsplit` of newer Pythons, it accepts several hosts, such as `one,[::1]`.
    """
    match = _PARTS.fullmatch(url)
    assert match is not None  # noqa: S101 - as the RFC says
    scheme, *parts = (part or "" for part in match.groups())
    return SplitResult(scheme.lower(), *parts)


def join_url(url: SplitResult) -> str:
    """Return the URL without its fragment. Unlike `urlunsplit`, it keeps the slashes of `sqlite:///path`."""
    query = f"?{url.query}" if url.query else ""
    return f"{url.scheme}://{url.netloc}{url.path}{query}"


def is_ambiguous(url: SplitResult) -> bool:
    """Return whether a part after the host may belong to a password.

    A special character that is not percent-encoded ends the user name, the password or an option early. Error
    messages then must not quote any part.
    """
    rest = url.path + url.query + url.fragment
    return bool(re.search("[@;]", rest)) or any("=" not in option for option in url.query.split("&")[1:])


def parse_hosts(text: str, port: int) -> tuple[tuple[str, int], ...]:
    """Return host and port of each server in `host[:port][,host[:port]…]`, with `port` as the default.

    Raises `InvalidStoreURL`.
    """
    parts = text.split(",")
    if len(parts) > 1 and "" in parts:
        raise InvalidStoreURL("Invalid store URL: a comma without a host before or after it.")
    return tuple(_parse_host(part, port) for part in parts)


def format_host(host: str, port: int) -> str:
    """Return `host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_host(text: str, default_port: int) -> tuple[str, int]:
    try:
        part = urlsplit(f"//{text}")
    except ValueError:
        raise InvalidStoreURL("Invalid host in store URL.") from None
    try:
        port = default_port if part.port is None else part.port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidStoreURL(INVALID_PORT)
    return part.hostname or "localhost", port
