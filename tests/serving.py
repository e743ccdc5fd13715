"""Any ASGI application on uvicorn, in the process of the test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@asynccontextmanager
async def serving(app: ASGIApp, protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    """The port of a server with this protocol."""
    # Without a configuration of logging, which other tests of this process would find.
    config = uvicorn.Config(app, port=0, http=protocol, lifespan="off", log_config=None)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await server.listens.wait()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task
