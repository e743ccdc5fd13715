"""The session of a test client: seed it before a request, read it after one."""

from collections.abc import Awaitable, Callable
from email.message import Message
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.request import Request

from anyio.from_thread import start_blocking_portal

from ..manager import SessionManager
from ..middleware import SessionMiddleware
from ..request_session import RequestSession
from ..session import Session

T = TypeVar("T")


def session_of(client: Any, app: Any = None) -> "ClientSession":
    """Return a context manager for the session of a client; it loads the session and saves it at the end.

        with session_of(client) as session:              # Starlette's TestClient
            session["cart"] = [1]
        async with session_of(client, app) as session:   # httpx.AsyncClient
            assert session["cart"] == [1]

    A client without a session gets one, with its cookie, once something is stored. Nothing is saved if the
    block raises. `app` is the application or its `SessionManager`; a `TestClient` knows its application.
    Raises TypeError if the application has no `SessionMiddleware`.
    """
    source = getattr(client, "app", None) if app is None else app
    if isinstance(source, SessionManager):
        return ClientSession(client, source, None)
    middleware = _find_middleware(source)
    return ClientSession(client, middleware.manager, middleware.data)


def login_as(client: Any, user_id: str, epoch: int = 0, *, app: Any = None) -> None:
    """Log a `TestClient` in: `session.log_in(user_id, epoch)` in its session. See `session_of`."""
    with session_of(client, app) as session:
        session.log_in(user_id, epoch)


class ClientSession:
    """The context manager of `session_of`."""

    def __init__(self, client: Any, manager: SessionManager, view: type[Any] | None) -> None:
        self._client, self._manager, self._view = client, manager, view

    def __enter__(self) -> Session:
        if hasattr(self._client, "aclose"):
            raise TypeError("session_of: expected `async with` for an asynchronous client, got `with`.")
        return self._run(self.__aenter__)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._run(lambda: self.__aexit__(kind, error, traceback))

    async def __aenter__(self) -> Session:
        request = self._client.build_request("GET", self._manager.cookie.path)
        self._url, cookies = str(request.url), request.headers.get("cookie", "")
        scope = {"scheme": request.url.scheme, "headers": [(b"cookie", cookies.encode("latin-1"))]}
        self._writer = self._manager.cookie_writer(scope)
        self._request_session = RequestSession(self._manager, self._writer.reader(scope["headers"]).read)
        self._session = Session(self._request_session, self._view)
        return await self._session.load()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        await self._session.save()
        cookie = self._request_session.set_cookie(self._session, self._writer)
        if cookie is not None:
            self._client.cookies.jar.extract_cookies(_Response(cookie), Request(self._url))  # noqa: S310

    def _run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run a function on the event loop of the client's application, or else on one of its own."""
        portal = getattr(self._client, "portal", None)
        if portal is not None:
            return cast(T, portal.call(function))
        with start_blocking_portal() as own:
            return own.call(function)


class _Response:
    """What a cookie jar reads of a response."""

    def __init__(self, cookie: str) -> None:
        self._headers = Message()
        self._headers["Set-Cookie"] = cookie

    def info(self) -> Message:
        return self._headers


def _find_middleware(app: Any) -> SessionMiddleware:
    """Return the session middleware of an application, through the middleware in front of it."""
    layer = app
    while layer is not None and not isinstance(layer, SessionMiddleware):
        if hasattr(layer, "build_middleware_stack"):
            if layer.middleware_stack is None:  # as before the first request
                layer.middleware_stack = layer.build_middleware_stack()
            layer = layer.middleware_stack
        else:
            layer = getattr(layer, "app", None)
    if layer is None:
        raise TypeError(
            "session_of: expected an application with SessionMiddleware, or a SessionManager, as the second "
            f"argument, got {app!r}."
        )
    return layer
