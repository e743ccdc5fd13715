"""Close the listening sockets of a server without losing the connections in their backlog."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress

import uvicorn


async def close_listeners(server: uvicorn.Server) -> None:
    """Close the listening sockets of a server, and serve the connections in their backlog.

    The kernel resets connections in the backlog of a closed socket. A proxy cannot retry a POST that it has
    already sent on such a connection. Accepting and closing without a suspension point in between leaves a
    gap of microseconds instead of an iteration of the event loop.
    """
    listeners = [listener for each in server.servers for listener in each.sockets]
    connections = [connection for listener in listeners for connection in _accept_all(listener.fileno())]
    for each in server.servers:
        each.close()
    loop = asyncio.get_running_loop()
    for connection in connections:
        with suppress(OSError):  # the client has closed the connection
            await loop.connect_accepted_socket(lambda: _create_protocol(server), connection)


def _accept_all(descriptor: int) -> Iterator[socket.socket]:
    with socket.socket(fileno=os.dup(descriptor)) as listener, suppress(BlockingIOError):
        listener.setblocking(False)
        while True:
            connection, _address = listener.accept()
            connection.setblocking(False)
            yield connection


def _create_protocol(server: uvicorn.Server) -> asyncio.Protocol:
    """Create the protocol of a connection, as `uvicorn.Server.startup` does."""
    factory = server.config.http_protocol_class
    return factory(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)  # type: ignore[call-arg]
