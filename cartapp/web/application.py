"""FastAPI without the layers that it puts round every application.

They are for telemetry, for a limit of bodies, for unexpected errors, and for closing what a request opened.
The shop does without the first, has its own of the next two, and puts the last round the routes that need it
(`routing.PageRoute`). Together they take as long as finding the session.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send


class Begun:
    """Whether an answer has begun, after which nobody can answer anything else; in each scope as `begun`."""

    yes = False


class Application(FastAPI):
    """An application with the layers that it is given, and the handlers of exceptions innermost."""

    def build_middleware_stack(self) -> ASGIApp:
        """See `Starlette`."""
        app: ASGIApp = _Handled(self.router.middleware_stack, self.exception_handlers)
        for layer, arguments, options in reversed(self.user_middleware):
            app = layer(app, *arguments, **options)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        scope["app"] = self
        begun = scope["begun"] = Begun()

        # Not a method of what is in the scope: a server's `send` may hold the scope, and each request would
        # leave a reference cycle behind, for the garbage collector to stop all others.
        def noting(message: Message) -> Awaitable[None]:
            begun.yes = True
            return send(message)

        await self.middleware_stack(scope, receive, noting)


class _Handled:
    """Starlette's `ExceptionMiddleware`, which is called in only when there is an exception."""

    def __init__(self, app: ASGIApp, handlers: Mapping[Any, ExceptionHandler]) -> None:
        self._app, self._handlers = app, handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["begun"].yes:
                raise
            await ExceptionMiddleware(_raising(error), self._handlers)(scope, receive, send)


def _raising(error: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    return app
