"""FastAPI without the layers that it puts round every application.

They are for telemetry, for a limit of bodies, for unexpected errors, and for closing what a request opened.
The shop does without the first, has its own of the next two, and puts the last round the routes that need it
(`routing.PageRoute`). Together they take as long as finding the session.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from .layers.begun import Begun


class Application(FastAPI):
    """An application with the layers that it is given, and the handlers of exceptions innermost."""

    def build_middleware_stack(self) -> ASGIApp:
        """See `Starlette`."""
        app: ASGIApp = _Handled(self.router, self.exception_handlers)
        for layer, arguments, options in reversed(self.user_middleware):
            app = layer(app, *arguments, **options)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "lifespan" or self.middleware_stack is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)


class _Handled:
    """Starlette's `ExceptionMiddleware`, which is called in only when there is an exception."""

    def __init__(self, app: ASGIApp, handlers: Mapping[Any, ExceptionHandler]) -> None:
        self._app, self._handlers = app, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = Begun(send)
        try:
            await self._app(scope, receive, begun.send)
        except Exception as error:
            if begun.yes:
                raise
            await ExceptionMiddleware(_raising(error), self._handlers)(scope, receive, send)


def _raising(error: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    return app
