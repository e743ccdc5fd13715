"""Stop a server that drains: each request on an accepted connection gets a response."""

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from cartapp.server.backlog import close_listeners
from cartapp.server.drain import STOP_NOW, Drain
from cartapp.server.limits import Limits
from cartapp.server.protocol import LimitedProtocol
from tests.conftest import ON_BOTH_LOOPS
from tests.support.asgi_server import run_asgi
from tests.support.environment import clean_environment
from tests.support.polling import DEADLINE, wait_for
from tests.support.servers.process import Server, accepts, free_port
from tests.support.shop_server import ROOT

REQUEST = b"POST /api/session HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
HEALTH_CHECK = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ADDRESS = "127.0.0.1"


class LongWait(LimitedProtocol):
    limits = Limits(last_request_seconds=60)


class ShortWait(LimitedProtocol):
    limits = Limits(last_request_seconds=0.01)


async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def stop_listening(server: uvicorn.Server, port: int) -> None:
    server.should_exit = True
    await asyncio.to_thread(wait_for, lambda: not accepts(port))


def connect(port: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection((ADDRESS, port), timeout=20)
    connection.sendall(data)
    return connection


def read_response(connection: socket.socket) -> bytes:
    """Return all data until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(4096), b""))


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_connections_in_the_backlog_are_served() -> None:
    async with run_asgi(respond, LimitedProtocol) as server:
        port = server.port
        # No suspension point: the event loop does not accept it before the listener is closed.
        connection = connect(port, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await close_listeners(server)
        assert not accepts(port)
        response = await asyncio.to_thread(read_response, connection)
    assert response.startswith(b"HTTP/1.1 200")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_a_request_may_arrive_after_the_listener_is_closed() -> None:
    async with run_asgi(respond, LongWait) as server:
        port = server.port
        new, partial = connect(port), connect(port, REQUEST[:20])
        await asyncio.to_thread(wait_for, lambda: len(server.server_state.connections) == 2)
        await stop_listening(server, port)
        new.sendall(REQUEST)
        partial.sendall(REQUEST[20:])
        responses = [await asyncio.to_thread(read_response, each) for each in (new, partial)]
    for response in responses:
        assert response.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in response.lower()


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_a_connection_without_a_request_does_not_prevent_the_stop() -> None:
    async with run_asgi(respond, ShortWait) as server:
        port = server.port
        connection = connect(port)
        await stop_listening(server, port)
        assert await asyncio.to_thread(read_response, connection) == b""


def send_until_refused(port: int) -> Counter[str]:
    """Send requests, each on its own connection, and count their outcomes."""
    outcomes: Counter[str] = Counter()
    while True:
        try:
            connection = socket.create_connection((ADDRESS, port), timeout=20)
        except ConnectionError:
            return outcomes
        with connection, suppress(ConnectionError):
            outcomes["connected"] += 1
            connection.sendall(HEALTH_CHECK)
            outcomes["served"] += connection.recv(4096).startswith(b"HTTP/1.1 200")


@pytest.fixture
def sigterm_ignored() -> Iterator[None]:
    """uvicorn raises the signal again at the end; the drain also sets a handler of its own."""
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        STOP_NOW: signal.getsignal(STOP_NOW),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@ON_BOTH_LOOPS
@pytest.mark.anyio
@pytest.mark.usefixtures("sigterm_ignored")
async def test_a_signal_during_the_start_is_followed_by_a_drain() -> None:
    def create_app() -> Drain:
        os.kill(os.getpid(), signal.SIGTERM)
        return Drain(respond, DEADLINE)

    async with run_asgi(create_app, LimitedProtocol, factory=True, lifespan="auto") as server:
        response = await asyncio.to_thread(lambda: read_response(connect(server.port, REQUEST)))
    assert response.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in response.lower()


def serve(folder: Path, port: int, *arguments: str) -> Server:
    env = clean_environment(CART_LOG_LEVEL="WARNING")
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--port", str(port), *arguments]
    return Server(command, folder=folder, ready=lambda: accepts(port), env=env)


@pytest.mark.alone
@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_accepted_connection_is_served_until_the_end(tmp_path: Path, workers: str) -> None:
    """Linux resets a connection that arrives between the last accept and the close; one may do so here."""
    port = free_port()
    with (
        serve(tmp_path, port, "--drain", "1", "--workers", workers) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        wait_for(lambda: is_served(port))  # another worker may still be starting
        results = [pool.submit(send_until_refused, port) for _ in range(8)]
        server.stop()
        outcomes = sum((result.result() for result in results), Counter[str]())
    assert outcomes["connected"] > 8
    assert outcomes["served"] >= outcomes["connected"] - 1


def test_a_killed_worker_is_replaced_and_the_log_says_why(tmp_path: Path) -> None:
    port = free_port()
    with serve(tmp_path, port, "--workers", "2") as server:
        wait_for(lambda: is_served(port))
        ended, other = server.children("spawn_main")
        os.kill(ended, signal.SIGKILL)
        wait_for(lambda: f"Worker {ended} was ended by SIGKILL" in server.output)
        wait_for(lambda: len(set(server.children("spawn_main")) - {ended, other}) == 1)
        assert is_served(port)


def is_served(port: int) -> bool:
    with connect(port, HEALTH_CHECK) as connection:
        return connection.recv(4096).startswith(b"HTTP/1.1 200")
