"""The session for any ASGI application: cookie in, commit before the first byte, cookie out.

The only file here that knows HTTP.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .carriers import Carrier, IdCarrier
from .cookies import CookieOptions, ReceivedCookie, WrittenCookie
from .errors import SessionBusy, SessionEnded, SessionError, SessionTooLarge, StoreUnavailable
from .guard import GuardedStore
from .hooks import Hooks, logger
from .manager import Manager, Visit
from .policy import IsCurrent, OnCount, Policy
from .record import Clock, now
from .session import Session
from .stores.base import Store

STATUS: Mapping[type[SessionError], int] = {
    SessionEnded: 409,
    SessionTooLarge: 413,
    SessionBusy: 503,
    StoreUnavailable: 503,
}
"""The errors that the middleware answers itself; every other is a mistake in the application."""

ANSWERED = tuple(STATUS)

RETRY_AFTER = 1
"""Seconds in the `Retry-After` of a 503."""

_DEFAULT = Policy()
_CACHING = (b"vary", b"cache-control")
_PRIVATE = [(b"vary", b"Cookie"), (b"cache-control", b"no-store")]
"""A shared cache must not keep an answer that a session had a part in (CVE-2026-27205)."""
_PURPOSE = frozenset((b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"))
_ADVANCE = re.compile(rb"(?:^|[;,])[ \t]*(?:prefetch|prerender|preview)[ \t]*(?:$|[;,])", re.IGNORECASE)
_OWN_WORDS: Mapping[type[SessionError], str] = {
    StoreUnavailable: "The session store cannot be reached at the moment.",
}

ErrorResponse = Callable[[Scope, SessionError], Response]


def default_error_response(_scope: Scope, error: SessionError) -> Response:
    """`{"error": …}` with 409, 413 or 503."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    return JSONResponse({"error": message_of(error)}, status, headers)


def status_of(error: SessionError) -> int:
    """The HTTP status that says what went wrong."""
    return next(status for kind, status in STATUS.items() if isinstance(error, kind))


def message_of(error: SessionError) -> str:
    """One sentence for the visitor, without internals."""
    return next((words for kind, words in _OWN_WORDS.items() if isinstance(error, kind)), str(error))


def is_prefetch(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser asks for a page that its user may never see: a prefetch, a prerendering, a preview.

    `Sec-Purpose: prefetch;prerender` (Fetch standard), and what browsers sent before: `Purpose`, `X-Purpose`
    (Safari) and `X-Moz` (Firefox).
    """
    return any(name in _PURPOSE and _ADVANCE.search(value) is not None for name, value in headers)


class SessionMiddleware:
    """Gives every request of `app` a `request.session`.

    `load="auto"` loads it before the handler when a well-formed cookie came, except under the path prefixes
    `skip`; `load="explicit"` leaves that to `SessionDep` or `await request.session.load()`. `eager` gives a
    visitor a session with the first page: a GET answered 200 with text/html, outside `skip`. `data` is the
    class of the typed view and `error_response(scope, error)` makes the answer to a commit that failed.
    `on_count(what)` is told of `conflicts`, after each of which a commit is tried again, and of `overwritten`
    keys, which two requests set at once. For `ttl`, `max_age`, `timeout` (seconds), `max_bytes` and
    `is_current` see `Policy`.
    """

    def __init__(
        self,
        app: ASGIApp,
        store: Store | None = None,
        *,
        carrier: Carrier | None = None,
        load: Literal["auto", "explicit"] = "auto",
        skip: Iterable[str] = (),
        cookie: CookieOptions | None = None,
        ttl: float = _DEFAULT.ttl,
        max_age: float = _DEFAULT.max_age,
        max_bytes: int = _DEFAULT.max_bytes,
        timeout: float = _DEFAULT.timeout,
        eager: bool = _DEFAULT.eager,
        is_current: IsCurrent | None = None,
        hooks: Hooks | None = None,
        data: type[Any] | None = None,
        error_response: ErrorResponse = default_error_response,
        on_count: OnCount | None = None,
        clock: Clock = now,
    ) -> None:
        self.app = app
        self.policy = Policy(ttl, max_age, max_bytes, timeout, eager, is_current, hooks or Hooks())
        if carrier is None:
            if store is None:
                raise TypeError("SessionMiddleware needs a store, for example store=MemoryStore().")
            carrier = IdCarrier(GuardedStore(store, timeout))
        self.manager = Manager(carrier, self.policy, clock=clock, on_count=on_count)
        cookie = cookie or CookieOptions()
        self.written = {https: WrittenCookie(cookie, https) for https in (False, True)}
        self.data = data
        self.error_response = error_response
        self._auto = load == "auto"
        self._skip = tuple(skip)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; see the class."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(self, scope, receive, send)
        scope["session"] = exchange.session
        load = self._auto and not self.skips(scope["path"])
        if scope["type"] == "websocket":
            await exchange.websocket(load)
            return
        try:
            if load:
                await exchange.session.try_to_load()
            await self.app(scope, receive, exchange.forward)
        except ANSWERED as error:
            if exchange.started:
                raise
            await exchange.answer(error)

    def skips(self, path: str) -> bool:
        """Whether a path is under one of the prefixes `skip`."""
        return path.startswith(self._skip)


class _Exchange:
    """One request and its answer."""

    _answered = False

    def __init__(self, layer: SessionMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self._layer = layer
        self._scope = scope
        self._app = scope.get("app")
        self._receive = receive
        self._send = send
        self._written = layer.written[scope.get("scheme") in ("https", "wss")]
        self._received = ReceivedCookie(scope["headers"], self._written.name)
        self._visit = visit = Visit(layer.manager, self._received)
        if scope["type"] == "websocket":
            visit.can_set_cookie = False
        elif scope["method"] == "HEAD":
            visit.read_only = True  # RFC 9110, 9.2.1: it changes nothing
        elif scope["method"] == "GET" and is_prefetch(scope["headers"]):
            # The page may never be seen, so it takes no flash and counts no visit.
            visit.read_only = visit.is_prefetch = True
        self.session = Session(visit, layer.data)

    async def websocket(self, load: bool) -> None:
        """Loaded at the handshake; saved only by `save()`, and never begun here."""
        try:
            if load:
                await self.session.load()
        except StoreUnavailable as error:
            logger.warning("A WebSocket was refused: %s", error)
            await self._send({"type": "websocket.close", "code": 1013, "reason": message_of(error)})
            return
        await self._layer.app(self._scope, self._receive, self._send)

    def forward(self, message: Message) -> Awaitable[None]:
        """Send what the application sends, the commit before the first byte.

        Not a coroutine itself, since most messages only pass.
        """
        if self._answered or message["type"] == "http.response.start":
            session = self.session
            if self._answered or session.accessed or session.loaded or self._layer.policy.eager:
                return self._forward(message)
            self._visit.can_set_cookie = False
        return self._send(message)

    async def _forward(self, message: Message) -> None:
        if self._answered:
            return  # the handler's own answer, which is not true any more
        try:
            await self._visit.finish(self.session, failed=message["status"] >= 500)
        except ANSWERED as error:
            await self.answer(error)
            return
        except Exception as error:  # noqa: BLE001 - it is raised again unless there is a handler for it
            await self._handle(error)
            return
        if self._layer.policy.eager and self._is_page(message):
            await self._begin()
        self._add_headers(message)
        self._visit.can_set_cookie = False
        await self._send(message)

    def _is_page(self, message: Message) -> bool:
        """Whether this is a GET of a page that was found: no health check, no asset, no error."""
        scope = self._scope
        if scope["method"] != "GET" or message["status"] != 200 or self._layer.skips(scope["path"]):
            return False
        types = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
        return bool(types) and types[0].partition(b";")[0].strip().lower() == b"text/html"

    async def _begin(self) -> None:
        """Give the visitor of a page a session at once. The page needs none, so an outage does not matter."""
        try:
            await self._visit.begin(self.session)
        except StoreUnavailable as error:
            logger.warning(
                "%s: no session was begun for a new visitor: %s", quote(self._scope["path"]), error
            )

    @property
    def started(self) -> bool:
        """Whether the answer has begun, so that it can say nothing else any more."""
        return not self._visit.can_set_cookie

    async def answer(self, error: SessionError) -> None:
        """Say what failed, in place of the handler's answer."""
        if self._answered:
            return
        logger.warning("%s %s: %s", self._scope["method"], quote(self._scope["path"]), error)
        await self._respond(self._layer.error_response(self._scope, error))

    async def _handle(self, error: Exception) -> None:
        """Let the application's exception handlers answer what a function given to `modify` raised.

        The handler has returned, so the error cannot come from it any more. Raises an error that has no
        exception handler.
        """

        async def failing(*_: object) -> None:
            raise error

        handlers: dict[Any, Any] = {}
        for app in (self._app, self._scope.get("app")):  # the second one is mounted in the first, if need be
            handlers.update(getattr(app, "exception_handlers", {}))
        for general in (500, Exception):  # they answer what is raised here
            handlers.pop(general, None)
        await self._respond(ExceptionMiddleware(failing, handlers))

    async def _respond(self, response: ASGIApp) -> None:
        """Send a response in place of the handler's, of which nothing is sent from then on."""
        self.session.accessed = True

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answered = True
                self._add_headers(message)
                self._visit.can_set_cookie = False
            await self._send(message)

        await response({**self._scope}, self._receive, send)

    def _add_headers(self, message: Message) -> None:
        cookies = self._cookie_headers()
        if not cookies and not self.session.accessed:
            return
        headers = message["headers"] = [*message.get("headers", ())]
        headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]
        for name, _ in headers:
            if name in _CACHING:
                _make_private(MutableHeaders(raw=headers))
                return
        headers += _PRIVATE

    def _cookie_headers(self) -> list[str]:
        value = self._visit.cookie()
        if value is not None:
            own = [self._written.header(value, self._visit.seconds_left(self.session))]
        else:
            own = [self._written.header("", 0)] if self._visit.cleared else []
        if not self._received.is_ambiguous or self._visit.read_only:
            return own
        return [*self._written.expire_variants(self._scope, keep_own=bool(own)), *own]


def _make_private(headers: MutableHeaders) -> None:
    """What `_PRIVATE` says, where the application has said something of its own."""
    headers.add_vary_header("Cookie")
    caching = headers.get("Cache-Control", "")
    if "no-store" not in caching and "private" not in caching:
        headers["Cache-Control"] = "no-store"
