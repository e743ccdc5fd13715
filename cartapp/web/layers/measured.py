"""Measures each request for `/metrics`; installed only where that is on."""

from time import perf_counter
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:  # what it imports is for those who switched metrics on
    from ..metrics import Metrics


class Measured:
    """Stands outside all others, so that their answers are measured too."""

    def __init__(self, app: ASGIApp, *, metrics: "Metrics") -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = perf_counter() - began
                self._metrics.answered(scope["method"], _route(scope), message["status"], seconds)
            await send(message)

        await self.app(scope, receive, noting)


def _route(scope: Scope) -> str:
    """The pattern of the route that took the request; `none` for a 404 or another layer's answer."""
    if scope["path"].startswith("/static/"):
        return "/static"
    return getattr(scope.get("route"), "path_format", "none")
