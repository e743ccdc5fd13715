"""Where memcached servers are found: the URL of a store, taken apart."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl

from ..errors import InvalidStoreURL
from ..record import KEY_LENGTH
from .base import PREFIX
from .urls import hosts_in

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
    hosts = hosts_in(url.netloc, _PORT)
    if len(set(hosts)) < len(hosts):
        raise InvalidStoreURL("A memcached store's URL names a server twice.")
    return Address(hosts, prefix)
