"""The last resort: an error that nobody expected is logged, and answered without its details."""

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import error_response, logger


class CatchAll:
    """Answers 500 for an exception; one after the first byte goes on to the server, which cuts the answer.

    A client that went away before its body was whole is nobody's error, and nobody is left to answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        except ClientDisconnect:
            logger.info("%s %s: the client went away amid its body", scope["method"], scope["path"])
        except Exception:
            if scope["begun"].yes:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            await error_response(scope, 500, "Internal server error")(scope, receive, send)
