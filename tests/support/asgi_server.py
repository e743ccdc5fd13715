"""Serve an ASGI application with uvicorn in the test's process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import uvicorn
from starlette.types import ASGIApp


class Server(uvicorn.Server):
    """A server that sets an event once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @property
    def port(self) -> int:
        """The port of the first listener."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


@asynccontextmanager
async def run_asgi(
    app: ASGIApp | Callable[[], ASGIApp],
    protocol: type[asyncio.Protocol],
    *,
    lifespan: Literal["auto", "off"] = "off",
    factory: bool = False,
    root_path: str = "",
) -> AsyncIterator[Server]:
    """Serve the application, or that of a factory, with this protocol class; yield the server."""
    # No logging configuration: it would affect other tests of this process.
    config = uvicorn.Config(
        app,
        port=0,
        http=protocol,
        lifespan=lifespan,
        factory=factory,
        root_path=root_path,
        log_config=None,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await server.listens.wait()
    try:
        yield server
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def serve_asgi(app: ASGIApp, protocol: type[asyncio.Protocol]) -> AsyncIterator[int]:
    """Serve the application with this protocol class; yield the port."""
    async with run_asgi(app, protocol) as server:
        yield server.port
