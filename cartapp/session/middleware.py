"""Sessions for any ASGI application: cookie in, commit before the first byte, cookie out."""

import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, Literal, Unpack
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .error_responses import HANDLED_ERRORS, ErrorResponse, default_error_response, error_message
from .errors import SessionError, StoreUnavailable
from .hooks import logger
from .manager import SessionManager, SessionOptions, check_options
from .request_session import RequestSession
from .session import Session
from .stores.base import Store

_CACHING = (b"vary", b"cache-control")
_PRIVATE = [(b"vary", b"Cookie"), (b"cache-control", b"no-store")]
"""A shared cache must not store a response that depends on a session (CVE-2026-27205)."""
_SESSIONS = "cartapp.session.sessions"
"""Scope key of the sessions of each `SessionMiddleware` outside, by manager."""
_PURPOSE = frozenset((b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"))
_ADVANCE = re.compile(rb"(?:^|[;,])[ \t]*(?:prefetch|prerender|preview)[ \t]*(?:$|[;,])", re.IGNORECASE)


def is_prefetch(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a browser requests a page that its user may never see: prefetch, prerender or preview.

    `Sec-Purpose: prefetch;prerender` (Fetch standard) and its predecessors `Purpose`, `X-Purpose` (Safari)
    and `X-Moz` (Firefox).
    """
    return any(name in _PURPOSE and _ADVANCE.search(value) is not None for name, value in headers)


def session_of(connection: HTTPConnection) -> Session:
    """Return `connection.session` with its type. Raises TypeError if another middleware provides it."""
    session = connection.session
    if not isinstance(session, Session):
        raise TypeError(
            f"request.session: expected a session of cartapp.session, got {type(session).__name__}."
        )
    session.mark_accessed()  # as Starlette 1.0 and newer do
    return session


class SessionMiddleware:
    """Adds `request.session` to every request of `app`.

    Takes a `manager`, or a `store` (or its URL) with the options of `SessionPolicy` and `SessionManager`:
    `SessionMiddleware(app, store="redis://localhost", ttl=1800)`.

    `load="auto"` loads the session before the handler if the request has a well-formed cookie, except under
    the path prefixes `skip`, which are written as routes of `app` are, without `root_path`. With
    `load="explicit"` handlers load it by `SessionDep` or `await request.session.load()`. `data` is the class
    of the typed view. `error_response(scope, error)` builds the response for a failed commit. With the
    policy's `eager`, a page (GET, status 200, text/html, outside `skip`) creates a session for a client that
    has none.

    Inside another one with the same manager, for example in a mounted application, it shares the session of
    that one, which commits it and sets the cookie. Its own `load`, `skip`, `data` and `error_response` apply
    to its application.
    """

    def __init__(
        self,
        app: ASGIApp,
        manager: SessionManager | None = None,
        *,
        store: Store | str | None = None,
        load: Literal["auto", "explicit"] = "auto",
        skip: Iterable[str] = (),
        data: type[Any] | None = None,
        error_response: ErrorResponse = default_error_response,
        **options: Unpack[SessionOptions],
    ) -> None:
        self.app = app
        self.manager: SessionManager = _build_manager(manager, store, options)
        if load not in ("auto", "explicit"):
            raise ValueError(f"SessionMiddleware: load: expected 'auto' or 'explicit', got {load!r}.")
        prefixes = _check_prefixes(skip)
        if data is not None and not isinstance(data, type):
            raise TypeError(f"SessionMiddleware: data: expected a class, got {data!r}.")
        if not callable(error_response):
            raise TypeError(
                "SessionMiddleware: error_response: expected a function (scope, error), got "
                f"{error_response!r}."
            )
        self.data = data
        self.error_response = error_response
        self._auto = load == "auto"
        self._skip = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; see the class."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        outer: Mapping[SessionManager, Session] = scope.get(_SESSIONS, {})
        if self.manager in outer:
            await self._share(outer[self.manager], scope, receive, send)
            return
        if "session" in scope:
            _check_cookie_names(outer, self.manager)
            scope = {**scope}  # the middleware outside reads its session from its own scope later
        responder = _Responder(self, scope, receive, send)
        scope["session"] = responder.session
        scope[_SESSIONS] = {**outer, self.manager: responder.session}
        load = self._auto and not responder.is_skipped
        if scope["type"] == "websocket":
            await self._run_websocket(load, scope, receive, send)
            return
        try:
            if load:
                await responder.session.try_to_load()
            await self.app(scope, receive, responder.send)
        except HANDLED_ERRORS as error:
            if responder.started:
                raise
            await responder.send_error(error)

    async def _share(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with the session of a middleware outside, which commits it."""
        if scope["session"] is not session:
            scope = {**scope, "session": session}  # another middleware in between has its own
        load = self._auto and not self.is_skipped(scope)
        with session.viewed_as(self.data):
            if scope["type"] == "websocket":
                await self._run_websocket(load, scope, receive, send)
                return
            if load:
                await session.try_to_load()
            await self._run_inside(session, scope, receive, send)

    async def _run_inside(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; respond to its errors here: a mounted one would turn them into a 500."""
        started = False

        async def send_and_track(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_track)
        except HANDLED_ERRORS as error:
            if started:
                raise
            _log(scope, error)
            session.drop_changes()
            await self.error_response(scope, error)(scope, receive, send)

    async def _run_websocket(self, load: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Load the session at the handshake; only `save()` commits, and nothing creates a session."""
        try:
            if load:
                await scope["session"].load()
        except StoreUnavailable as error:
            logger.warning("Rejected a WebSocket: %s", error)
            await send({"type": "websocket.close", "code": 1013, "reason": error_message(error)})
            return
        await self.app(scope, receive, send)

    def is_skipped(self, scope: Scope) -> bool:
        """Return whether the path within the application begins with one of the prefixes `skip`."""
        return bool(self._skip) and _get_route_path(scope).startswith(self._skip)


def _get_route_path(scope: Scope) -> str:
    """Return the path without ASGI's `root_path`, which a proxy or `Mount` sets, as Starlette's routes do."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    is_below = path.startswith(root) and path[len(root) :][:1] in ("", "/")
    return path[len(root) :] if is_below else path


def _check_cookie_names(outer: Iterable[SessionManager], own: SessionManager) -> None:
    """Raise RuntimeError if another manager has the same cookie: each would end the other's sessions."""
    if any(manager.cookie.name == own.cookie.name for manager in outer):
        raise RuntimeError(
            f"Two SessionMiddleware with different managers use the cookie {own.cookie.name}: give them one "
            "manager, or different names by cookie=CookieOptions(name=…)."
        )


def _check_prefixes(skip: object) -> tuple[str, ...]:
    """Return the path prefixes. Raises TypeError and ValueError: an empty one would match every path."""
    if isinstance(skip, str) or not isinstance(skip, Iterable):
        raise TypeError(f"SessionMiddleware: skip: expected a list of path prefixes, got {skip!r}.")
    prefixes = tuple(skip)
    for prefix in prefixes:
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ValueError(f"SessionMiddleware: skip: expected prefixes such as /static, got {prefix!r}.")
    return prefixes


_OWN_OPTIONS = ("manager", "store", "load", "skip", "data", "error_response")


def _build_manager(
    manager: SessionManager | None, store: Store | str | None, options: SessionOptions
) -> SessionManager:
    check_options(options, more=_OWN_OPTIONS)
    if manager is None:
        if store is None:
            raise TypeError(
                'SessionMiddleware: expected a manager or a store, for example store="memory://".'
            )
        return SessionManager.from_options(store, **options)
    if not isinstance(manager, SessionManager):
        raise TypeError(f"SessionMiddleware: manager: expected SessionManager(…), got {manager!r}.")
    if store is not None or options:
        given = ", ".join([*(["store"] if store is not None else []), *options])
        raise TypeError(
            f"SessionMiddleware: pass {given} to SessionManager.from_options, not along with a manager."
        )
    return manager


class _Responder:
    """Handles the messages of one request and its response."""

    _replaced = False  # whether a response of the middleware replaced the handler's

    def __init__(self, middleware: SessionMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        manager = middleware.manager
        self._middleware = middleware
        self._policy = manager.policy
        self._scope = scope
        self.is_skipped: bool = middleware.is_skipped(scope)  # now: `Mount` changes the path in the scope
        self._app = scope.get("app")
        self._receive = receive
        self._send = send
        self._writer = manager.cookie_writer(scope)
        self._reader = self._writer.reader(scope["headers"])
        self._request_session = request_session = RequestSession(manager, self._reader.read)
        if scope["type"] == "websocket":
            request_session.can_set_cookie = False
        elif scope["method"] == "HEAD":
            request_session.read_only = True  # a safe method (RFC 9110, 9.2.1)
        elif scope["method"] == "GET" and is_prefetch(scope["headers"]):
            # The page may never be shown, so it takes no flash and counts no visit.
            request_session.read_only = request_session.is_prefetch = True
        self.session = Session(request_session, middleware.data)

    def send(self, message: Message) -> Awaitable[None]:
        """Send a message of the application; commit before the first byte.

        No coroutine function: most messages only pass through, without the cost of another coroutine.
        """
        if self._replaced or message["type"] == "http.response.start":
            session = self.session
            if self._replaced or session.accessed or session.loaded or self._policy.eager:
                return self._commit_and_send(message)
            self._request_session.can_set_cookie = False
        return self._send(message)

    async def _commit_and_send(self, message: Message) -> None:
        if self._replaced:
            return  # discard the handler's response: the commit failed
        try:
            await self._request_session.finish(self.session, failed=message["status"] >= 500)
        except HANDLED_ERRORS as error:
            await self.send_error(error)
            return
        except Exception as error:  # noqa: BLE001 - raised again unless the application has a handler
            await self._run_exception_handler(error)
            return
        if self._policy.eager and self._is_page(message):
            await self._create_session()
        self._add_headers(message)
        self._request_session.can_set_cookie = False
        await self._send(message)

    def _is_page(self, message: Message) -> bool:
        """Return whether this is a successful GET of a page, not a health check, an asset or an error."""
        if self._scope["method"] != "GET" or message["status"] != 200 or self.is_skipped:
            return False
        types = [value for name, value in message.get("headers", ()) if name.lower() == b"content-type"]
        return bool(types) and types[0].partition(b";")[0].strip().lower() == b"text/html"

    async def _create_session(self) -> None:
        """Create a session for a new client. The page does not need it, so an outage is only logged."""
        try:
            await self._request_session.begin(self.session)
        except StoreUnavailable as error:
            logger.warning("%s: Created no session for a new client: %s", quote(self._scope["path"]), error)

    @property
    def started(self) -> bool:
        """Whether the response has started, so that it cannot be replaced."""
        return not self._request_session.can_set_cookie

    async def send_error(self, error: SessionError) -> None:
        """Send the error in place of the handler's response."""
        if self._replaced:
            return
        _log(self._scope, error)
        await self._replace(self._middleware.error_response(self._scope, error))

    async def _run_exception_handler(self, error: Exception) -> None:
        """Run the application's exception handler for an error of a function given to `modify`.

        The handler of the request has returned, so the error cannot propagate from it. Raises an error
        without an exception handler.
        """

        async def fail(*_: object) -> None:
            raise error

        handlers: dict[Any, Any] = {}
        for app in (self._app, self._scope.get("app")):  # the second differs in a mounted application
            handlers.update(getattr(app, "exception_handlers", {}))
        for general in (500, Exception):  # those handle what is raised here
            handlers.pop(general, None)
        await self._replace(ExceptionMiddleware(fail, handlers))

    async def _replace(self, response: ASGIApp) -> None:
        """Send this response; discard the handler's from then on."""
        self.session.accessed = True

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._replaced = True
                self._add_headers(message)
                self._request_session.can_set_cookie = False
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
        cookie = self._request_session.set_cookie(self.session, self._writer)
        own = [] if cookie is None else [cookie]
        if not self._reader.is_ambiguous or self._request_session.read_only:
            return own
        return [*self._writer.expire_variants(self._scope, keep_own=bool(own)), *own]


def _log(scope: Scope, error: SessionError) -> None:
    """Log an error that becomes a response."""
    logger.warning("%s %s: %s", scope["method"], quote(scope["path"]), error)


def _make_private(headers: MutableHeaders) -> None:
    """Apply `_PRIVATE` to headers with caching directives of the application."""
    headers.add_vary_header("Cookie")
    caching = headers.get("Cache-Control", "")
    if "no-store" not in caching and "private" not in caching:
        headers["Cache-Control"] = "no-store"
