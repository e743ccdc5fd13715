"""What every response has in common, whichever layer sends it."""

from collections.abc import Awaitable
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.logs import request_id

from ..errors import STATUS_MESSAGES, error_response, logger
from .request_log import log_response, read_ids
from .security_headers import SecurityHeaders


class ResponseMiddleware:
    """Add security headers, request ID and remember-me cookie; log the response; respond 500 to an exception.

    After the response has started, an exception is re-raised for the server to abort. A client that
    disconnects while sending its body gets no response and causes no error.

    Must be outside of every layer that responds.
    """

    def __init__(self, app: ASGIApp, *, hsts: bool) -> None:
        self.app = app
        self._security = SecurityHeaders(hsts=hsts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "websocket":
            await self.app(scope, receive, self._security.wrap(scope, send))
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own_id, trace_id = read_ids(scope)
        status = 0
        began = perf_counter()

        # A closure, not a bound method: a server's `send` may hold the scope, and a reference cycle with each
        # request would keep the garbage collector busy.
        def forward(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), *self._security.headers(scope)]
                device = scope.get("device")
                if device is not None and device.set_cookie is not None:
                    headers.append((b"set-cookie", device.set_cookie.encode("ascii")))
                headers.append((b"x-request-id", own_id.encode()))
                message["headers"] = headers
            return send(message)

        token = request_id.set(own_id)
        try:
            await self.app(scope, receive, forward)
        except ClientDisconnect:
            logger.info(
                "%s %s: the client disconnected before its body was complete", scope["method"], scope["path"]
            )
        except Exception:
            if status:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await error_response(scope, 500, STATUS_MESSAGES[500])(scope, receive, forward)
        finally:
            log_response(scope, status, perf_counter() - began, trace_id)
            request_id.reset(token)
