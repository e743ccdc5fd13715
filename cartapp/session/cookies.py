"""The session cookie: options, formatting, and reading from the raw headers in linear time.

The parsers of the standard library and of frameworks unquote values, in quadratic time on Python before
3.11.10, and prefer the last of two values. Nothing here unquotes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .hooks import logger

Headers = Iterable[tuple[bytes, bytes]]
"""The headers of an ASGI scope, names in lower case."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A host name: its last label begins with a letter, unlike that of an IPv4 address.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[a-z]){_LABEL}")
_MAX_HOST_NAME = 253
_MAX_PARENTS = 4  # limit of parent domains for which cookies are expired
_SEGMENTS = re.compile(r"/[A-Za-z0-9._~-]{1,64}")  # path segments that are valid in a `Path` attribute
_MAX_SEGMENTS = 2

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 6265, section 4.1.1
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)\.?{_LABEL}(?:\.{_LABEL})*", re.IGNORECASE)
_PATH = re.compile(r"/[\x21-\x3a\x3c-\x7e]{0,1023}")  # visible ASCII without the semicolon


@dataclass(frozen=True, slots=True)
class CookieOptions:
    """Attributes of the session cookie (RFC 6265bis). Raises ValueError for an impossible value."""

    name: str = "cart_session"
    same_site: Literal["Lax", "Strict", "None"] = "Lax"
    http_only: bool = True
    secure: bool | Literal["auto"] = "auto"
    """`auto`: on https exactly, Secure, with the name prefix `__Host-` where domain and path allow it."""
    domain: str | None = None
    path: str = "/"
    persistent: bool = True
    """False for a cookie that ends with the browser's session; `Session.set_lifetime` overrides it."""
    partitioned: bool = False
    """Whether embedding sites get cookies of their own (CHIPS); set with Secure only, as browsers require."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(_expected("name", "a cookie name (RFC 6265)", self.name))
        if self.name.lower().startswith("__host-") and (self.secure is not True or not self._is_host_only):
            raise ValueError(
                _expected("name", "no __Host- prefix without secure=True, path / and no domain", self.name)
            )
        if self.name.lower().startswith("__secure-") and self.secure is not True:
            raise ValueError(_expected("name", "no __Secure- prefix without secure=True", self.name))
        if self.same_site not in ("Lax", "Strict", "None"):
            raise ValueError(_expected("same_site", "Lax, Strict or None as a string", self.same_site))
        if not isinstance(self.secure, bool) and self.secure != "auto":
            raise ValueError(_expected("secure", "True, False or 'auto'", self.secure))
        for name in ("http_only", "persistent", "partitioned"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(_expected(name, "True or False", getattr(self, name)))
        if self.partitioned and self.secure is False:
            raise ValueError("CookieOptions: partitioned=True needs Secure: browsers reject it otherwise.")
        if self.same_site == "None" and self.secure is not True:
            raise ValueError(
                "CookieOptions: same_site='None' needs secure=True: browsers reject it otherwise."
            )
        if self.domain is not None and not (isinstance(self.domain, str) and _DOMAIN.fullmatch(self.domain)):
            raise ValueError(_expected("domain", "a domain such as example.org", self.domain))
        if not isinstance(self.path, str) or not _PATH.fullmatch(self.path):
            raise ValueError(_expected("path", "a path such as /shop, without blanks and ;", self.path))

    @property
    def _is_host_only(self) -> bool:
        return self.domain is None and self.path == "/"

    def name_for(self, https: bool) -> str:
        """Return the one name that such a request reads and writes."""
        has_prefix = self.secure == "auto" and https and self._is_host_only
        return f"__Host-{self.name}" if has_prefix else self.name

    def format(self, value: str, max_age: int | None, *, https: bool) -> str:
        """Return the value of a `Set-Cookie` header.

        `max_age` is in seconds: 0 removes the cookie, and None leaves its end to the browser.
        """
        return CookieWriter(self, https).format(value, max_age)


class CookieWriter:
    """Formats the cookie for requests of one scheme, from parts that are built once."""

    def __init__(self, options: CookieOptions, https: bool) -> None:
        self.name: str = options.name_for(https)
        secure = https if options.secure == "auto" else options.secure
        http_only = "; HttpOnly" if options.http_only else ""
        self._flags = f"{http_only}; SameSite={options.same_site}{'; Secure' if secure else ''}"
        self._scope = _Scope(options.domain, options.path, options.partitioned and secure)
        self._before_age, self._after_age = self._around_age(self._scope)

    def reader(self, headers: Headers) -> "CookieReader":
        """Return a reader of the cookie of this name: the only one that counts for this scheme."""
        return CookieReader(headers, self.name)

    def format(self, value: str, max_age: int | None) -> str:
        """Return the value of a `Set-Cookie` header; see `CookieOptions.format`."""
        age = "" if max_age is None else f"; Max-Age={max_age}"
        return f"{self.name}={value}{self._before_age}{age}{self._after_age}"

    def expire_variants(self, request: Mapping[str, Any], *, keep_own: bool) -> list[str]:
        """Return `Set-Cookie` values that remove every cookie of this name that a browser may hold for us.

        A browser sends cookies of one name together if they differ in domain, path or partition, as they do
        after a setting has changed. With `keep_own` the cookie with the present settings stays.
        """
        own = self._scope
        pairs = [(own.domain, own.path)] if self.name.startswith("__Host-") else self._possible_pairs(request)
        scopes = [_Scope(*pair, p) for pair in pairs for p in dict.fromkeys((own.partitioned, False))]
        expired = []
        for scope in dict.fromkeys(scopes):
            if not (keep_own and scope == own):
                before, after = self._around_age(scope)
                expired.append(f"{self.name}={before}; Max-Age=0{after}")
        return expired

    def _possible_pairs(self, request: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        """Return domains and paths for which a cookie of this request may have been set."""
        own_domain, own_path, _ = self._scope
        host = next((value for name, value in request["headers"] if name == b"host"), b"")
        domains = [None, own_domain, *_parent_domains(host.decode("latin-1"))]
        pairs = [(domain, path) for domain in domains for path in ("/", own_path)]
        paths = _parent_paths(request["path"])
        return [*pairs, *((domain, path) for domain in (None, own_domain) for path in paths)]

    def _around_age(self, scope: "_Scope") -> tuple[str, str]:
        domain = f"; Domain={scope.domain}" if scope.domain else ""
        partition = "; Partitioned" if scope.partitioned else ""
        return f"; Path={scope.path}", f"{domain}{self._flags}{partition}"


class _Scope(NamedTuple):
    """What identifies a cookie in a browser, apart from its name."""

    domain: str | None
    path: str
    partitioned: bool


class CookieReader:
    """Reads the cookie of one request, on demand."""

    is_ambiguous: bool = False
    """Whether the request had several values, so that none of them counts; known after `read`."""

    def __init__(self, headers: Headers, name: str) -> None:
        self._headers, self._name = headers, name

    def read(self) -> str | None:
        """Return the value; None without one, or with several different ones."""
        values = cookie_values(self._headers, self._name)
        if len(values) > 1:
            self.is_ambiguous = True
            logger.warning("Ignored %d different cookies named %s in one request", len(values), self._name)
        return values[0] if len(values) == 1 else None


def read_cookie(headers: Headers, name: str) -> str | None:
    """Return the value of the cookie of exactly this name; None without one, or with several that differ.

    Two values mean that one was planted, or that the cookie's domain or path has changed.
    """
    return CookieReader(headers, name).read()


def cookie_values(headers: Headers, name: str) -> list[str]:
    """Return the distinct values of cookies of exactly this name, in the order of the `Cookie` header lines.

    Only space and tab are trimmed and nothing is unquoted: a lenient parser accepts one name for another.
    """
    prefix = name.encode("ascii") + b"="
    values: dict[bytes, None] = {}
    for key, line in headers:
        if key != b"cookie" or prefix not in line:
            continue
        for part in line.split(b";"):
            pair = part.strip(b" \t")
            if pair.startswith(prefix):
                values[pair[len(prefix) :]] = None
    return [value.decode("latin-1") for value in values]


def _parent_domains(host: str) -> Iterator[str]:
    """Yield the host name and its parent domains without the top-level one; nothing for an address."""
    name = host.partition(":")[0].lower().removesuffix(".")
    if len(name) > _MAX_HOST_NAME or not _HOST_NAME.fullmatch(name):
        return
    yield name
    for _ in range(_MAX_PARENTS):
        name = name.partition(".")[2]
        if "." not in name:
            return
        yield name


def _parent_paths(path: str) -> Iterator[str]:
    """Yield the path up to each of its first segments: possible values of a cookie's path."""
    prefix = ""
    for _ in range(_MAX_SEGMENTS):
        segment = _SEGMENTS.match(path, len(prefix))
        if segment is None:
            return
        prefix += segment[0]
        if path[len(prefix) : len(prefix) + 1] not in ("", "/"):
            return  # the segment continues with characters that are invalid in `Path`
        yield prefix


def _expected(name: str, expectation: str, value: object) -> str:
    return f"CookieOptions.{name}: expected {expectation}, got {value!r}."
