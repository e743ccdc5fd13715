"""The cookie that remembers a device: read from the request, and written with whatever the answer is."""

from collections.abc import Awaitable
from functools import cached_property
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.accounts import TOKEN_LIFE, Token, parse_token
from cartapp.session.cookies import CookieOptions, Headers, WrittenCookie, read_cookie

COOKIE = "remember_me"


class Device:
    """What a handler knows of the visitor's device, and what it says of it; in the scope as `device`."""

    def __init__(self, headers: Headers, written: WrittenCookie) -> None:
        self._headers, self._written = headers, written
        self._answer: str | None = None
        self._max_age = 0

    @cached_property
    def _cookie(self) -> str | None:
        return read_cookie(self._headers, self._written.name)  # few handlers ever ask for it

    @property
    def token(self) -> Token | None:
        """The token that came; None when none came, or nothing that could be one."""
        return parse_token(self._cookie)

    def remember(self, token: Token) -> None:
        """Let the answer bring a new token, good for 30 days."""
        self._answer, self._max_age = str(token), TOKEN_LIFE // 1000

    def forget(self) -> None:
        """Let the answer remove the cookie, if one came."""
        self._answer, self._max_age = None if self._cookie is None else "", 0

    def header(self) -> str | None:
        """The `Set-Cookie` value, if there is anything to say."""
        return None if self._answer is None else self._written.header(self._answer, self._max_age)


class RememberMe:
    """Gives each request its `Device`, and the answer the cookie that follows.

    It stands outside the session layer, so that a token which was rotated reaches the browser also when the
    request then failed. A HEAD changes nothing, and so its cookie is not looked at.

    On https the cookie has the prefix `__Host-`, with which no other host of the domain can set one; only
    that name is read there, and only the plain one on http.
    """

    def __init__(self, app: ASGIApp, *, secure: bool | Literal["auto"]) -> None:
        self.app = app
        self._written = {https: _written(https, secure) for https in (False, True)}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        headers = () if scope["method"] == "HEAD" else scope["headers"]
        scope["device"] = device = Device(headers, self._written[scope.get("scheme") == "https"])

        def with_cookie(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                cookie = device.header()
                if cookie is not None:
                    added = (b"set-cookie", cookie.encode("ascii"))
                    message["headers"] = [*message.get("headers", ()), added]
            return send(message)

        return self.app(scope, receive, with_cookie)


def _written(https: bool, secure: bool | Literal["auto"]) -> WrittenCookie:
    is_secure = https if secure == "auto" else secure
    name = f"__Host-{COOKIE}" if https and is_secure else COOKIE  # browsers want Secure with the prefix
    return WrittenCookie(CookieOptions(name=name, secure=is_secure), https)
