"""Close the listening sockets of a server without losing the connections in their backlog."""

import asyncio
import os
import socket
from contextlib import suppress

import uvicorn


async def close_listeners(server: uvicorn.Server) -> None:
    """Close the listening sockets of a server, and serve the connections in their backlog.

    The kernel resets connections in the backlog of a closed socket. A proxy cannot retry a POST that it has
    already sent on such a connection. So each socket is closed by one system call right after the one that
    finds its backlog empty: a copy of it stays open while the event loop closes its own.
    """
    listeners = [_copy(listener.fileno()) for each in server.servers for listener in each.sockets]
    for each in server.servers:
        each.close()
    connections = [connection for listener in listeners for connection in _accept_all_and_close(listener)]
    loop = asyncio.get_running_loop()
    for connection in connections:
        with suppress(OSError):  # the client has closed the connection
            await loop.connect_accepted_socket(lambda: _create_protocol(server), connection)


def _copy(descriptor: int) -> socket.socket:
    copy = socket.socket(fileno=os.dup(descriptor))
    copy.setblocking(False)
    return copy


def _accept_all_and_close(listener: socket.socket) -> list[socket.socket]:
    connections = []
    try:
        while True:
            connections.append(listener.accept()[0])
    except OSError:  # the backlog is empty, or the process has no further file descriptor
        listener.close()
    for connection in connections:
        connection.setblocking(False)
    return connections


def _create_protocol(server: uvicorn.Server) -> asyncio.Protocol:
    """Create the protocol of a connection, as `uvicorn.Server.startup` does."""
    factory = server.config.http_protocol_class
    return factory(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)  # type: ignore[call-arg]
