"""Record each request's store operations for `/inspect` and `Server-Timing`; in development only."""

from collections.abc import Iterable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.session.stores import StoreCall

from ..root_path import get_route_path
from .trace import Inspector, make_trace

_UNSEEN = ("/inspect", "/proof/", "/static/")  # the inspector itself, and what would fill the log


class RequestTraceMiddleware:
    """Must be outside the session middleware, which commits when the response starts."""

    def __init__(self, app: ASGIApp, *, inspector: Inspector) -> None:
        self.app = app
        self._inspector = inspector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http" or get_route_path(scope).startswith(_UNSEEN):
            await self.app(scope, receive, send)
            return
        traces, started = self._inspector.traces, perf_counter()
        with traces.record() as operations:

            async def forward(message: Message) -> None:
                if message["type"] == "http.response.start":
                    own = self._inspector.own_key(scope)
                    traces.add(own, make_trace(scope, message["status"], operations))
                    timing = server_timing(scope["method"], perf_counter() - started, operations)
                    message["headers"] = [*message.get("headers", ()), (b"server-timing", timing.encode())]
                await send(message)

            await self.app(scope, receive, forward)


def server_timing(method: str, seconds: float, operations: Iterable[StoreCall]) -> str:
    """Return a `Server-Timing` header: the whole request and each store operation, in milliseconds."""
    parts = [("total", method, seconds), *((one.operation, one.outcome, one.seconds) for one in operations)]
    return ", ".join(f'{name};desc="{text}";dur={time * 1000:.2f}' for name, text, time in parts)
