"""Types of the settings' values: validators for pydantic annotations.

Invalid text raises `ValueError` with a noun phrase that completes the message "NAME: expected ...".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from cartapp.session import CookieOptions, is_strong
from cartapp.session.stores import split_url

TEN_YEARS: Final = 315_360_000
"""Seconds. An upper limit for lifetimes that no date overflows with."""

OTHER_COOKIES: Final = ("remember_me", "language", "theme", "proof_session", "proof_plain")
"""Names of the other cookies of the shop. A session cookie of the same name would be overwritten."""

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_PATH = re.compile(r"[^\x00-\x1f\x7f]+")
_MAPPED_PREFIX = 96  # bits before the IPv4 address in an IPv4-mapped IPv6 address
_DEFAULT_PORTS = {"http": 80, "https": 443}

Period = Literal["second", "minute", "hour", "day"]
_SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate such as `10/minute`."""

    count: int
    period: Period

    @property
    def seconds(self) -> int:
        """Length of the period."""
        return _SECONDS[self.period]

    def __str__(self) -> str:
        return f"{self.count}/{self.period}"


def validated(expected: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """Parse text. `parse` raises `ValueError` or `KeyError` for invalid text."""

    def check(value: object) -> object:
        if not isinstance(value, str):
            return value  # set in Python, not read from the environment
        try:
            return parse(value)
        except (ValueError, KeyError):
            raise ValueError(expected) from None

    return BeforeValidator(check)


def pattern(expected: str, pattern: str) -> BeforeValidator:
    """Match the whole text against a regular expression."""
    return validated(expected, lambda text: _match(re.compile(pattern), text))


def one_of(*choices: str) -> BeforeValidator:
    """Accept one of these words, ignoring case."""
    words = {word.lower(): word for word in choices}
    *most, last = words.values()
    return validated(f"{', '.join(most)} or {last}", lambda text: words[text.lower()])


def integer(low: int, high: int) -> BeforeValidator:
    """Parse a whole number in decimal digits."""
    return validated(f"a whole number from {low} to {high}", lambda text: _integer(text, low, high))


def comma_separated(expected: str, parse: Callable[[str], Any]) -> BeforeValidator:
    """Parse comma-separated values into a tuple."""
    return validated(expected, lambda text: tuple(parse(part.strip()) for part in text.split(",")))


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _integer(text: str, low: int, high: int) -> int:
    number = int(_match(re.compile(r"[0-9]{1,15}"), text))
    if not low <= number <= high:
        raise ValueError
    return number


def _boolean(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _auto_or_boolean(text: str) -> Literal["auto"] | bool:
    return "auto" if text.lower() == "auto" else _boolean(text)


def _seconds(text: str) -> float:
    seconds = float(_match(re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?"), text))
    if not 0 < seconds <= 300:
        raise ValueError
    return seconds


def _host(text: str) -> str:
    if ":" in text:
        IPv6Address(text)  # raises ValueError, for instance for a name and a port
        return text
    return _match(_HOST, text)


def _path(text: str) -> str:
    try:
        Path(_match(_PATH, text)).expanduser()
    except RuntimeError:  # ~ and the name of an unknown user
        raise ValueError from None
    return text


def _cookie_name(text: str) -> str:
    if text.lower().startswith(("__host-", "__secure-")) or text in OTHER_COOKIES:
        raise ValueError
    return CookieOptions(name=text).name


def _origin(text: str) -> str:
    url = urlsplit(text.lower())
    port = url.port  # raises ValueError for an invalid port
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    if url.scheme not in _DEFAULT_PORTS or not re.fullmatch(r"[a-z0-9.:\[\]-]+", host or ""):
        raise ValueError
    if text.lower() != f"{url.scheme}://{url.netloc}" or "@" in url.netloc:
        raise ValueError
    suffix = "" if port is None or port == _DEFAULT_PORTS[url.scheme] else f":{port}"
    return f"{url.scheme}://{host}{suffix}"  # the form of the `Origin` header


def _network(text: str) -> IPv4Network | IPv6Network:
    network = ip_network(text)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < _MAPPED_PREFIX:
        return network
    return IPv4Network(
        (mapped, network.prefixlen - _MAPPED_PREFIX)
    )  # the form in which addresses are compared


def _rate(text: str) -> Rate:
    count, _, period = text.lower().partition("/")
    if period not in _SECONDS:
        raise ValueError
    return Rate(_integer(count, 1, 10_000), period)  # type: ignore[arg-type]  # checked above


def _secret(text: str) -> str:
    if not is_strong(text):
        raise ValueError
    return text


BOOLEAN = validated("true or false", _boolean)
AUTO_OR_BOOLEAN = validated("auto, true or false", _auto_or_boolean)
SECONDS = validated("a number of seconds above 0 and at most 300", _seconds)
PASSWORD = pattern("one line of UTF-8 text", r"[^\x00-\x1f\x7f\ud800-\udfff]+")
HOST = validated("a host name or address without a port", _host)
PATH = validated("a folder path", _path)
FILE = validated("a file path", _path)
COLLECTION = pattern(
    "a name of at most 100 characters, such as shop.sessions",
    r"(?=.{1,100}\Z)(?!system\.)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*",
)
COOKIE_NAME = validated(
    "a cookie name (RFC 6265) without the prefix __Host- or __Secure-, other than "
    f"{', '.join(OTHER_COOKIES[:-1])} and {OTHER_COOKIES[-1]}",
    _cookie_name,
)
COOKIE_DOMAIN = validated(
    "a domain such as example.org", lambda text: CookieOptions(domain=text.lower().lstrip(".")).domain
)
COOKIE_PATH = validated(
    "a path that starts with / and contains no space, semicolon or control character",
    lambda text: CookieOptions(path=text).path,
)
NETWORKS = comma_separated("comma-separated addresses or networks such as 10.0.0.0/8", _network)
ORIGINS = comma_separated("comma-separated origins such as https://shop.example", _origin)
RATE = validated("a rate from 1 to 10000 per second, minute, hour or day, such as 10/minute", _rate)
SECRET = validated(
    "43 base64url characters, at least 16 of them different, as `cart secret` generates", _secret
)
SECRETS = comma_separated("comma-separated secrets as in CART_SECRET_KEY", _secret)


def url(*schemes: str) -> BeforeValidator:
    """Accept a URL with one of these schemes, which may have a suffix such as `redis+cluster://`."""

    def parse(text: str) -> str:
        url = split_url(_match(re.compile(r"[a-z0-9+]+://[\x21-\x7e]*"), text))
        if url.scheme.partition("+")[0] not in schemes:
            raise ValueError
        return text

    return validated(f"a URL with one of the schemes {', '.join(schemes)}", parse)
