"""Follows each request's operations on the session store, for `/inspect`; installed only where that is on."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..inspection import Inspector, footprint_of

_UNSEEN = ("/inspect", "/static/")  # a look at the trail leaves none, and static files would fill it


class Trailed:
    """Stands outside the session layer, which commits while the answer begins."""

    def __init__(self, app: ASGIApp, *, inspector: Inspector) -> None:
        self.app = app
        self._inspector = inspector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http" or scope["path"].startswith(_UNSEEN):
            await self.app(scope, receive, send)
            return
        trail = self._inspector.trail
        with trail.following() as operations:

            async def noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    own = self._inspector.own_key(scope)
                    trail.add(own, footprint_of(scope, message["status"], operations))
                await send(message)

            await self.app(scope, receive, noting)
