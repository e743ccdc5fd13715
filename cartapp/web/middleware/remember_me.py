"""The remember-me cookie: read from the request, written with any response."""

from functools import cached_property
from typing import Literal

from starlette.types import Scope

from cartapp.accounts import TOKEN_LIFETIME, Token, parse_token
from cartapp.session import CookieOptions, Headers, read_cookie

COOKIE = "remember_me"


class Device:
    """The remember-me cookie of a request and its response; in the scope as `device`."""

    set_cookie: str | None = None
    """The `Set-Cookie` value for the response, if any."""

    def __init__(self, headers: Headers, options: CookieOptions) -> None:
        self._headers, self._options = headers, options

    @cached_property
    def _cookie(self) -> str | None:
        return read_cookie(self._headers, self._options.name)  # few handlers need it

    @property
    def token(self) -> Token | None:
        """The token of the request; None without a well-formed one."""
        return parse_token(self._cookie)

    def remember(self, token: Token) -> None:
        """Set a new token, valid for 30 days."""
        self._set(str(token), TOKEN_LIFETIME // 1000)

    def forget(self) -> None:
        """Remove the cookie, if the request had one."""
        if self._cookie is None:
            self.set_cookie = None
        else:
            self._set("", 0)

    def _set(self, value: str, max_age: int) -> None:
        self.set_cookie = self._options.format(value, max_age, https=self._options.secure is True)


class RememberMe:
    """Creates the `Device` of each request.

    `ResponseMiddleware` adds its cookie outside the session middleware, so that a rotated token reaches the
    browser even if the request then fails. A HEAD changes nothing, so its cookie is ignored.

    On https the cookie has the prefix `__Host-`, so that no other host of the domain can set it; only that
    name is read there, and only the plain name on http.
    """

    def __init__(self, *, secure: bool | Literal["auto"]) -> None:
        self._options = {https: _options(https, secure) for https in (False, True)}

    def device(self, scope: Scope) -> Device:
        """Return the device of a request."""
        headers = () if scope["method"] == "HEAD" else scope["headers"]
        return Device(headers, self._options[scope.get("scheme") == "https"])


def _options(https: bool, secure: bool | Literal["auto"]) -> CookieOptions:
    is_secure = https if secure == "auto" else secure
    name = f"__Host-{COOKIE}" if https and is_secure else COOKIE  # browsers require Secure with the prefix
    return CookieOptions(name=name, secure=is_secure)
