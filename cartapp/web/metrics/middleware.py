"""Measures each request for `/metrics`; installed if metrics are on."""

from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..root_path import get_route_path

if TYPE_CHECKING:  # its imports are needed for metrics only
    from .figures import Metrics


class MetricsMiddleware:
    """Must be the outermost middleware, so that the responses of all others are measured."""

    def __init__(self, app: ASGIApp, *, metrics: "Metrics") -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()

        async def forward(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = perf_counter() - began
                self._metrics.count_response(scope["method"], _route(scope), message["status"], seconds)
            await send(message)

        await self.app(scope, receive, forward)


def _route(scope: Scope) -> str:
    """Return the pattern of the matched route; `none` for a 404 or a middleware's response."""
    if get_route_path(scope).startswith("/static/"):
        return "/static"
    return getattr(scope.get("route"), "path_format", "none")
