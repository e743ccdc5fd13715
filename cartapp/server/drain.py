"""Serve for a while after SIGTERM, so that proxies and balancers stop sending requests first."""

import asyncio
import logging
import signal
from types import FrameType

import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cartapp.web.root_path import get_route_path

from .backlog import close_listeners

logger = logging.getLogger("cartapp.server")

STOP_NOW = signal.SIGUSR1
"""Stops a worker without a drain.

Not SIGINT: Ctrl-C sends that to the workers too, and at the second one uvicorn aborts running requests.
"""


class Drain:
    """ASGI application that delays uvicorn's reaction to SIGTERM by `seconds`.

    During that time `/readyz` responds with 503, other requests are served, and each response carries
    `Connection: close`: a kept connection could otherwise be closed at the moment of its next request. At the
    end, connections in the backlog are served too. SIGTERM during the start is delayed as well. A second
    SIGTERM, such as that of the parent process, is ignored; SIGINT and `STOP_NOW` stop at once.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._draining = False
        self._stopping: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] == "lifespan":
            self._delay_stop()
        if not self._draining or scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        is_check = get_route_path(scope) == "/readyz"
        await (_not_ready if is_check else self._app)(scope, receive, send_and_close)

    def _delay_stop(self) -> None:
        """Delay the present handler of SIGTERM: uvicorn's, which it installs before the lifespan."""
        loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return
        server = getattr(stop, "__self__", None)  # the handler is a method of the server

        async def drain(number: int) -> None:
            await asyncio.sleep(self._seconds)
            try:
                if isinstance(server, uvicorn.Server):
                    await close_listeners(server)
            finally:  # also where the process has no further file descriptor
                stop(number, None)

        def start(number: int) -> None:
            self._stopping = loop.create_task(drain(number))

        def begin(number: int, _frame: FrameType | None) -> None:
            if self._draining:
                return
            self._draining = True
            logger.info("Draining for %g seconds: /readyz is 503, other requests are served", self._seconds)
            loop.call_soon_threadsafe(start, number)

        def stop_now(_number: int, _frame: FrameType | None) -> None:
            self._draining = True  # SIGTERM of the parent process follows
            stop(signal.SIGTERM, None)

        signal.signal(signal.SIGTERM, begin)
        signal.signal(STOP_NOW, stop_now)
        if isinstance(server, uvicorn.Server) and server._captured_signals == [signal.SIGTERM]:
            # It arrived during the start. Connections may wait on a socket that only this process listens on.
            server.should_exit = False
            begin(signal.SIGTERM, None)


async def _not_ready(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Cache-Control": "no-store"}
    await JSONResponse({"error": "Not ready: the server is stopping"}, 503, headers)(scope, receive, send)
