"""Where memcached servers are found: the URL of a store, taken apart."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl

from ..errors import InvalidStoreURL
from ..record import KEY_LENGTH
from .base import PREFIX

_PORT: Final = 11211
_LONGEST_KEY: Final = 250  # bytes; protocol.txt, "Keys"


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says."""

    hosts: tuple[tuple[str, int], ...]
    """Each key lives on one of them, which the name and port decide; their order says nothing."""
    prefix: str = PREFIX
    """What every key begins with."""


def parse(url: SplitResult) -> Address:
    """The address in a URL. Raises `InvalidStoreURL`.

    memcached://host[:port][,host[:port]…][?prefix=…]
    """
    options = dict(parse_qsl(url.query, keep_blank_values=True))
    prefix = options.pop("prefix", PREFIX)
    if options:
        raise InvalidStoreURL(f"A memcached store's URL has no option {next(iter(options))!r} after the ?.")
    if "@" in url.netloc:
        raise InvalidStoreURL("A memcached store's URL takes no user or password.")
    if url.path not in ("", "/") or url.fragment:
        raise InvalidStoreURL("A memcached store's URL has nothing but servers and a prefix.")
    if not re.fullmatch(r"[!-~]+", prefix) or len(prefix) > _LONGEST_KEY - KEY_LENGTH:
        raise InvalidStoreURL(
            f"The prefix of a memcached store's keys must be 1 to {_LONGEST_KEY - KEY_LENGTH} visible ASCII "
            "characters."
        )
    if "," in url.netloc and "" in url.netloc.split(","):
        raise InvalidStoreURL("A store's URL has a comma with no server beside it.")
    hosts = _hosts(url.netloc)
    if len(set(hosts)) < len(hosts):
        raise InvalidStoreURL("A memcached store's URL names a server twice.")
    return Address(hosts, prefix)


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    try:
        return tuple(_host(SplitResult("", part, "", "", "")) for part in text.split(","))
    except ValueError:
        raise InvalidStoreURL("A store's URL has a port that is no number from 1 to 65535.") from None


def _host(part: SplitResult) -> tuple[str, int]:
    given = _PORT if part.port is None else part.port
    if given == 0:
        raise ValueError
    return part.hostname or "localhost", given
