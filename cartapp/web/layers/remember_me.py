"""The cookie that remembers a device: read from the request, and written with whatever the answer is."""

from collections.abc import Awaitable, Iterable
from functools import cached_property
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.accounts import TOKEN_LIFE, Token, parse_token
from cartapp.session.cookies import CookieOptions, read_cookie

COOKIE = "remember_me"


class Device:
    """What a handler knows of the visitor's device, and what it says of it; in the scope as `device`."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = headers
        self._answer: str | None = None
        self._max_age = 0

    @cached_property
    def _cookie(self) -> str | None:
        return read_cookie(self._headers, COOKIE)  # few handlers ever ask for it

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

    def header(self, *, secure: bool) -> str | None:
        """The `Set-Cookie` value, if there is anything to say. The name is the same on http and https."""
        if self._answer is None:
            return None
        return CookieOptions(name=COOKIE, secure=secure).header(self._answer, self._max_age, https=secure)


class RememberMe:
    """Gives each request its `Device`, and the answer the cookie that follows.

    It stands outside the session layer, so that a token which was rotated reaches the browser also when the
    request then failed. A HEAD changes nothing, and so its cookie is not looked at.
    """

    def __init__(self, app: ASGIApp, *, secure: bool | Literal["auto"]) -> None:
        self.app = app
        self._secure = secure

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """The ASGI application."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        device = Device(() if scope["method"] == "HEAD" else scope["headers"])
        scope["device"] = device
        secure = scope.get("scheme") == "https" if self._secure == "auto" else self._secure

        def with_cookie(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                cookie = device.header(secure=secure)
                if cookie is not None:
                    added = (b"set-cookie", cookie.encode("ascii"))
                    message["headers"] = [*message.get("headers", ()), added]
            return send(message)

        return self.app(scope, receive, with_cookie)
