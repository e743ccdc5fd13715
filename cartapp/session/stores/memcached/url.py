"""Parse the URL of a memcached store."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl

from ...errors import InvalidStoreURL
from ...record import KEY_LENGTH
from ..base import PREFIX
from ..urls import parse_hosts

PORT: Final = 11211
_LONGEST_KEY: Final = 250  # bytes; protocol.txt, "Keys"


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of the URL."""

    hosts: tuple[tuple[str, int], ...]
    """Names and ports decide which server has a key; the order does not matter."""
    prefix: str = PREFIX
    """Prefix of every key."""


def parse(url: SplitResult) -> Address:
    """Return the address in a URL. Raises `InvalidStoreURL`.

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
    hosts = parse_hosts(url.netloc, PORT)
    if len(set(hosts)) < len(hosts):
        raise InvalidStoreURL("A memcached store's URL names a server twice.")
    return Address(hosts, prefix)
