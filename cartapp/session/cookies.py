"""The session's cookie: written once per scheme, and read from the raw headers in linear time.

Parsers of the standard library and of frameworks unquote values, which takes quadratic time on Python before
3.11.10, and let the last of two values win. Nothing here unquotes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .hooks import logger

Headers = Iterable[tuple[bytes, bytes]]
"""The headers of an ASGI scope, names in lower case."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A host name; the last label begins with a letter, which no IPv4 address's does.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}")
_MAX_HOST_NAME = 253
_MAX_PARENTS = 4  # domains above the own host name that a variant is looked for in
_SEGMENTS = re.compile(r"/[A-Za-z0-9._~-]{1,64}")  # of a path; others are no good for a `Path` attribute
_MAX_SEGMENTS = 2


@dataclass(frozen=True, slots=True)
class CookieOptions:
    """How the cookie is written (RFC 6265bis)."""

    name: str = "cart_session"
    same_site: Literal["Lax", "Strict", "None"] = "Lax"
    http_only: bool = True
    secure: bool | Literal["auto"] = "auto"
    """`auto`: Secure, with `__Host-` before the name where domain and path allow it, exactly on https."""
    domain: str | None = None
    path: str = "/"

    def name_for(self, https: bool) -> str:
        """The one name that is read and written for such a request."""
        hosted = self.secure == "auto" and https and self.domain is None and self.path == "/"
        return f"__Host-{self.name}" if hosted else self.name

    def header(self, value: str, max_age: int, *, https: bool) -> str:
        """The `Set-Cookie` value; a `max_age` of 0 seconds removes the cookie."""
        return WrittenCookie(self, https).header(value, max_age)


class WrittenCookie:
    """The cookie as requests of one scheme have it, put together once."""

    def __init__(self, options: CookieOptions, https: bool) -> None:
        self.name = options.name_for(https)
        secure = https if options.secure == "auto" else options.secure
        http_only = "; HttpOnly" if options.http_only else ""
        self._place = (options.domain, options.path)
        self._flags = f"{http_only}; SameSite={options.same_site}{'; Secure' if secure else ''}"
        self._before_age, self._after_age = self._around_age(*self._place)

    def header(self, value: str, max_age: int) -> str:
        """See `CookieOptions.header`."""
        return f"{self.name}={value}{self._before_age}{max_age}{self._after_age}"

    def expire_variants(self, scope: Mapping[str, Any], *, keep_own: bool) -> list[str]:
        """`Set-Cookie` values that remove every cookie of this name that a browser may hold for us.

        A browser sends cookies of one name together when they differ in domain or path, as they do after
        either setting has changed. With `keep_own` the one that is written now is left out.
        """
        places = [self._place] if self.name.startswith("__Host-") else self._places(scope)
        expired = []
        for place in dict.fromkeys(places):
            if not (keep_own and place == self._place):
                before, after = self._around_age(*place)
                expired.append(f"{self.name}={before}0{after}")
        return expired

    def _places(self, scope: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        """Domains and paths that a cookie sent with this request may have been set for."""
        own_domain, own_path = self._place
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        domains = [None, own_domain, *_domains(host.decode("latin-1"))]
        places = [(domain, path) for domain in domains for path in ("/", own_path)]
        return [*places, *((domain, path) for domain in (None, own_domain) for path in _paths(scope["path"]))]

    def _around_age(self, domain: str | None, path: str) -> tuple[str, str]:
        in_domain = f"; Domain={domain}" if domain else ""
        return f"; Path={path}; Max-Age=", f"{in_domain}{self._flags}"


class ReceivedCookie:
    """The cookie of one request, read when it is called."""

    is_ambiguous = False
    """Whether several values came, so that none of them counts; known after the call."""

    def __init__(self, headers: Headers, name: str) -> None:
        self._headers, self._name = headers, name

    def __call__(self) -> str | None:
        """Return the value, or None when there is none or more than one."""
        values = cookie_values(self._headers, self._name)
        if len(values) > 1:
            self.is_ambiguous = True
            logger.warning(
                "A request came with %d different cookies named %s; none of them is used",
                len(values),
                self._name,
            )
        return values[0] if len(values) == 1 else None


def read_cookie(headers: Headers, name: str) -> str | None:
    """The value of the cookie of exactly this name; None when there is none, or several that differ.

    Two values mean that one of them was planted, or that the cookie's domain or path has changed.
    """
    return ReceivedCookie(headers, name)()


def cookie_values(headers: Headers, name: str) -> list[str]:
    """The different values of cookies of exactly this name, in the order of the `Cookie` header's lines.

    Only space and tab are trimmed and nothing is unquoted, since a lenient parser lets one name pass for
    another.
    """
    beginning = name.encode("ascii") + b"="
    values: dict[bytes, None] = {}
    for key, line in headers:
        if key != b"cookie" or beginning not in line:
            continue
        for part in line.split(b";"):
            pair = part.strip(b" \t")
            if pair.startswith(beginning):
                values[pair[len(beginning) :]] = None
    return [value.decode("latin-1") for value in values]


def _domains(host: str) -> Iterator[str]:
    """The host name and the domains above it, but for the last label; nothing for an address."""
    name = host.partition(":")[0].lower().removesuffix(".")
    if len(name) > _MAX_HOST_NAME or not _HOST_NAME.fullmatch(name):
        return
    yield name
    for _ in range(_MAX_PARENTS):
        name = name.partition(".")[2]
        if "." not in name:
            return
        yield name


def _paths(path: str) -> Iterator[str]:
    """The first segments of a path, each of which a cookie's path may end with."""
    beginning = ""
    for _ in range(_MAX_SEGMENTS):
        segment = _SEGMENTS.match(path, len(beginning))
        if segment is None:
            return
        beginning += segment[0]
        if path[len(beginning) : len(beginning) + 1] not in ("", "/"):
            return  # the segment goes on with characters that no `Path` may have
        yield beginning
