"""What the value of a setting must look like: one annotation a kind, each with the words that say it.

A text that does not fit raises `ValueError` with those words, which complete the sentence "NAME must be …".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from .session.keys import is_strong
from .session.stores.urls import split_url

TEN_YEARS: Final = 315_360_000  # seconds; far enough, and no date made of it overflows anywhere

_COOKIE_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 6265, section 4.1.1
_OTHER_COOKIES = {"remember_me", "language"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_FOLDER = re.compile(r"[^\x00-\x1f\x7f]+")
_COOKIE_PATH = re.compile(r"/[\x21-\x3a\x3c-\x7e]{0,1023}")  # visible ASCII but for the semicolon
_MAPPED_PREFIX = 96  # bits before the IPv4 address in an IPv6 address that stands for it
_DEFAULT_PORTS = {"http": 80, "https": 443}

Period = Literal["second", "minute", "hour", "day"]
_SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so much time, `10/minute`."""

    count: int
    period: Period

    @property
    def seconds(self) -> int:
        """The length of the period."""
        return _SECONDS[self.period]

    def __str__(self) -> str:
        return f"{self.count}/{self.period}"


def checked(right: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """A text goes through `parse`, which raises `ValueError` or `KeyError` for a wrong one."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            return value  # made in Python, not read from the environment
        try:
            return parse(value)
        except (ValueError, KeyError):
            raise ValueError(right) from None

    return BeforeValidator(check)


def matching(right: str, pattern: str) -> BeforeValidator:
    """A text of this form."""
    return checked(right, lambda text: _full(re.compile(pattern), text))


def one_of(literal: Any) -> BeforeValidator:
    """One of the words of a `Literal`, in capitals or not."""
    words = {word.lower(): word for word in get_args(literal)}
    *most, last = words.values()
    return checked(f"{', '.join(most)} or {last}", lambda text: words[text.lower()])


def whole(low: int, high: int) -> BeforeValidator:
    """A whole number in decimal digits."""
    return checked(f"a whole number from {low} to {high}", lambda text: _whole(text, low, high))


def many(right: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """Values with commas between them, as a tuple."""
    return checked(right, lambda text: tuple(parse(part.strip()) for part in text.split(",")))


def _full(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _whole(text: str, low: int, high: int) -> int:
    number = int(_full(re.compile(r"[0-9]{1,15}"), text))
    if not low <= number <= high:
        raise ValueError
    return number


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _auto_or_boolean(text: str) -> Literal["auto"] | bool:
    return "auto" if text.lower() == "auto" else _boolean(text)


def _seconds(text: str) -> float:
    seconds = float(_full(re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?"), text))
    if not 0 < seconds <= 300:
        raise ValueError
    return seconds


def _host(text: str) -> str:
    if ":" in text:
        IPv6Address(text)  # raises ValueError for what is none, such as a name and a port
        return text
    return _full(_HOST, text)


def _folder(text: str) -> str:
    try:
        Path(_full(_FOLDER, text)).expanduser()
    except RuntimeError:  # ~ and a name that no user has
        raise ValueError from None
    return text


def _cookie_name(text: str) -> str:
    if text.lower().startswith(("__host-", "__secure-")) or text in _OTHER_COOKIES:
        raise ValueError
    return _full(_COOKIE_TOKEN, text)


def _origin(text: str) -> str:
    url = urlsplit(text.lower())
    port = url.port  # raises ValueError for one that is none
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    if url.scheme not in _DEFAULT_PORTS or not re.fullmatch(r"[a-z0-9.:\[\]-]+", host or ""):
        raise ValueError
    if text.lower() != f"{url.scheme}://{url.netloc}" or "@" in url.netloc:
        raise ValueError
    shown = "" if port is None or port == _DEFAULT_PORTS[url.scheme] else f":{port}"
    return f"{url.scheme}://{host}{shown}"  # as browsers write it in `Origin`


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))  # as addresses are compared


def _rate(text: str) -> Rate:
    count, _, period = text.lower().partition("/")
    if period not in _SECONDS:
        raise ValueError
    return Rate(_whole(count, 1, 10_000), period)  # type: ignore[arg-type]  # one of the four, as just seen


def _secret(text: str) -> str:
    if not is_strong(text):
        raise ValueError
    return text


BOOLEAN = checked("true or false", _boolean)
AUTO_OR_BOOLEAN = checked("auto, true or false", _auto_or_boolean)
SECONDS = checked("a number of seconds above 0, at most 300", _seconds)
PASSWORD = matching("one line of UTF-8 text", r"[^\x00-\x1f\x7f\ud800-\udfff]+")
HOST = checked("a host name or an address, without a port", _host)
PATH = checked("the path of a folder", _folder)
COLLECTION = matching(
    "a name of at most 100 characters, such as shop.sessions",
    r"(?=.{1,100}\Z)(?!system\.)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*",
)
COOKIE_NAME = checked(
    "a cookie name (RFC 6265) that does not begin with __Host- or __Secure- and is neither remember_me "
    "nor language",
    _cookie_name,
)
COOKIE_DOMAIN = checked("a domain such as example.org", lambda text: _full(_DOMAIN, text.lower().lstrip(".")))
COOKIE_PATH = checked(
    "a path that begins with / and has no blank, semicolon or control character",
    lambda text: _full(_COOKIE_PATH, text),
)
NETWORKS = many("addresses or networks such as 10.0.0.0/8, with commas between them", _network)
ORIGINS = many("origins such as https://shop.example, with commas between them", _origin)
RATE = checked("a number from 1 to 10000 and a period, such as 10/minute (second, minute, hour, day)", _rate)
SECRET = checked(
    "43 base64url characters, at least 16 of them different; `cart secret` makes such a secret", _secret
)
SECRETS = many("secrets as in CART_SECRET_KEY, with commas between them", _secret)


def url_of(*schemes: str) -> BeforeValidator:
    """A URL with one of these schemes, which may be followed by a kind or driver (`redis+cluster://`)."""

    def parse(text: str) -> str:
        url = split_url(_full(re.compile(r"[a-z0-9+]+://[\x21-\x7e]*"), text))
        if url.scheme.partition("+")[0] not in schemes:
            raise ValueError
        return text

    return checked(f"a URL that begins with one of {', '.join(schemes)}", parse)
