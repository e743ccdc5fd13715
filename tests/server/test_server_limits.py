"""Limits of `cart serve`: request size and time, connections, unread bodies."""

import asyncio
import gc
import json
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import websockets
from starlette.types import Receive, Scope, Send

from cartapp.server.limits import Limits
from cartapp.server.protocol import LimitedProtocol
from tests.conftest import ON_BOTH_LOOPS
from tests.support.asgi_server import serve_asgi
from tests.support.environment import clean_environment
from tests.support.polling import DEADLINE, wait_for
from tests.support.servers.process import Server, accepts, free_port

SMALL: dict[str, Any] = {"head_seconds": 0.5, "request_seconds": 1, "stalled_seconds": 1, "linger_seconds": 1}
START = """
import json, resource, sys
limits, descriptors = json.loads(sys.argv.pop(1)), json.loads(sys.argv.pop(1))
if descriptors:
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
from cartapp.server.limits import Limits
from cartapp.server.protocol import LimitedProtocol
LimitedProtocol.limits = Limits(**limits)
from cartapp.commands import main
main()
"""
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
ROOT = Path(__file__).parents[2]


class Shop:
    """A running `cart serve`."""

    def __init__(self, port: int, server: Server) -> None:
        self.port, self.server = port, server

    @contextmanager
    def connection(self, data: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            yield connection

    def exchange(self, data: bytes) -> bytes:
        """Send data and return everything received until the server closes the connection."""
        with self.connection(data) as connection:
            return rest(connection)


@contextmanager
def limited_shop(folder: Path, *, descriptors: int | None = None, **limits: float) -> Iterator[Shop]:
    """Run `cart serve` with other limits and a limit of file descriptors."""
    port = free_port()
    command = [sys.executable, "-c", START, json.dumps(limits), json.dumps(descriptors)]
    env = clean_environment(CART_LOG_LEVEL="INFO", PYTHONPATH=str(ROOT))
    with Server(
        [*command, "serve", "--port", str(port)], folder=folder, ready=lambda: accepts(port), env=env
    ) as server:
        yield Shop(port, server)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run the shop with the default sizes and short times."""
    with limited_shop(tmp_path_factory.mktemp("limits"), **SMALL) as running:
        yield running


def rest(connection: socket.socket) -> bytes:
    """Read until the connection is closed."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def response(connection: socket.socket) -> bytes:
    """Read one response with a `Content-Length`."""
    with connection.makefile("rb", buffering=0) as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        body = b""
        while len(body) < int(length[1]):
            body += stream.read(int(length[1]) - len(body))
        return head + b"\r\n" + body


def is_error_response(received: bytes, status: int, *words: str) -> bool:
    """Return whether this is an error response of the server that closes the connection."""
    head, _, body = received.partition(b"\r\n\r\n")
    sentence = json.loads(body)["error"]
    return (
        head.startswith(b"HTTP/1.1 %d " % status)
        and b"\r\nconnection: close" in head
        and b"\r\nx-content-type-options: nosniff" in head
        and all(word in sentence for word in words)
    )


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: %s\r\n" % (b"a" * 1_000) * 40 + b"\r\n",
        b"GET /?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000,  # never completes
        b"GET /" + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 1_000_000,
    ],
    ids=["header", "headers", "target", "endless header", "endless target", "endless name"],
)
def test_large_head_is_431(shop: Shop, head: bytes) -> None:
    assert is_error_response(shop.exchange(head), 431, "headers are too large", "32768 bytes")


def test_many_header_lines_are_431(shop: Shop) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n"
    assert is_error_response(shop.exchange(head), 431, "Too many header lines", "100")


@pytest.mark.parametrize("size", [1, 1_000, 31_000])
def test_head_within_the_limit_is_served(shop: Shop, size: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * size + b"\r\n\r\n"
    with shop.connection(head * 3) as connection:
        for _ in range(3):
            assert response(connection).startswith(b"HTTP/1.1 200 ")


def test_earlier_body_does_not_count_towards_the_head(shop: Shop) -> None:
    post = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000
    with shop.connection(post + GET[:20]) as connection:
        assert response(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(GET[20:])
        assert response(connection).startswith(b"HTTP/1.1 200 ")


def test_incomplete_head_is_408(shop: Shop) -> None:
    assert is_error_response(shop.exchange(GET[:-2]), 408, "Timeout while receiving the headers")


def test_slow_head_is_408(shop: Shop) -> None:
    with shop.connection(GET[:-2]) as connection:
        connection.settimeout(0.05)
        received = b""
        while not received:
            connection.sendall(b"X: y\r\n")
            with suppress(TimeoutError):
                received = connection.recv(65_536)
        connection.settimeout(20)
        assert is_error_response(received + rest(connection), 408)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n\r\n", GET, GET + b"\r\n"],
    ids=["nothing", "line breaks", "after a request", "line breaks after a request"],
)
def test_silent_connection_is_closed(shop: Shop, sent: bytes) -> None:
    received = shop.exchange(sent)
    assert received.count(b"HTTP/1.1") == received.count(b"HTTP/1.1 200 ") == sent.count(b"GET")


@pytest.mark.parametrize(
    "post",
    [
        b"POST /api/cart/add HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{",
        b"POST /api/cart/add HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
    ids=["length", "chunked"],
)
def test_incomplete_body_is_408(shop: Shop, post: bytes) -> None:
    assert is_error_response(shop.exchange(post), 408, "Timeout while receiving the body")


def test_websocket_handshake_with_a_body_is_400(shop: Shop) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 9\r\n\r\n"
    )
    assert is_error_response(shop.exchange(upgrade), 400, "must not have a body")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.0\r\nHost: x\r\nhost: y\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", b"200"),
    ],
)
def test_h11_request_requires_one_host_header(shop: Shop, head: bytes, status: bytes) -> None:
    assert shop.exchange(head).split(b" ", 2)[1] == status


def test_invalid_http_is_400(shop: Shop) -> None:
    assert is_error_response(shop.exchange(b"\x16\x03\x01\x02\x00"), 400)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 600_000, None),  # not in the order of responses
        (b"NO\x00HTTP", None),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz", 400),
    ],
)
def test_error_response_follows_earlier_responses(shop: Shop, bad: bytes, status: int | None) -> None:
    get = GET.replace(b"/healthz", b"/api/cart")
    received = shop.exchange(get + get + bad)
    assert received.startswith(b"HTTP/1.1 200 ")
    first, second, *others = received.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert second.startswith(b"200 ")
    if status is not None:
        assert is_error_response(b"HTTP/1.1 " + others.pop(), status)
    assert others == []


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"POST /api/cart/add", b"Content-Length: 4000000", 413),
        (b"POST /nowhere", b"Content-Length: 60000", 404),
        (b"GET /api/cart", b"Content-Length: 60000", 200),
        (b"POST /api/cart/add", b"Content-Length: 60000\r\nOrigin: http://evil.example", 403),
        (b"DELETE /healthz", b"Transfer-Encoding: chunked", 405),
    ],
)
def test_early_response_closes_the_connection(
    shop: Shop, request_line: bytes, headers: bytes, status: int
) -> None:
    head = request_line + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"
    with shop.connection(head) as connection:
        received = rest(connection)  # until EOF; the client could still send
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert received.lower().count(b"\r\nconnection: close\r\n") == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 4000000", b"Transfer-Encoding: chunked"])
def test_413_reaches_a_client_that_is_still_sending(shop: Shop, framing: bytes) -> None:
    chunk = b"%x\r\n%s\r\n" % (4_000_000, b"a" * 4_000_000)
    body = chunk + b"0\r\n\r\n" if b"chunked" in framing else b"a" * 4_000_000
    received = shop.exchange(b"POST /api/cart/add HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + body)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"65536 bytes" in received


def test_endless_body_is_cut_off(tmp_path: Path) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n"
    with (
        limited_shop(tmp_path, linger_bytes=100_000) as shop,
        shop.connection(head) as connection,
        pytest.raises(ConnectionError),
    ):
        send_for_ever(connection)


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"a" * 65_536)


@pytest.mark.parametrize("path", [b"/nowhere", b"/api/cart/clear"])
def test_unread_complete_body_keeps_the_connection(shop: Shop, path: bytes) -> None:
    post = b"DELETE " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with shop.connection(post) as connection:
        assert b"connection: close" not in response(connection)
        connection.sendall(GET)
        assert response(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("apart", [False, True])
def test_ignored_upgrade_keeps_or_closes_the_connection(shop: Shop, apart: bool) -> None:
    upgrade = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    with shop.connection(upgrade if apart else upgrade + GET) as connection:
        received = response(connection)
        assert received.startswith(b"HTTP/1.1 200 ")
        assert (b"connection: close" in received) is not apart
        if apart:
            connection.sendall(GET)
            assert response(connection).startswith(b"HTTP/1.1 200 ")
        else:
            assert rest(connection) == b""


def test_log_counts_reached_limits(shop: Shop) -> None:
    shop.exchange(GET[:-2])
    wait_for(lambda: "Limits reached since the last report: " in shop.server.output)


def test_incomplete_requests_do_not_delay_the_shutdown(tmp_path: Path) -> None:
    with (
        limited_shop(tmp_path) as shop,
        shop.connection(GET[:-2]),
        shop.connection(b"POST /api/cart/add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{") as half,
        shop.connection(GET) as idle,
    ):
        response(idle)
        half.sendall(b'"a": 1}\n')
        shop.server.stop()
        assert "graceful shutdown exceeded" not in shop.server.output


def test_connection_limit_leaves_file_descriptors(tmp_path: Path) -> None:
    with limited_shop(tmp_path, descriptors=128) as shop:
        held = [socket.create_connection(("127.0.0.1", shop.port)) for _ in range(300)]
        try:
            for one in held:
                with suppress(ConnectionError):
                    one.sendall(GET[:-2])
            for path in (b"/healthz", b"/", b"/api/cart"):
                with shop.connection(GET.replace(b"/healthz", path)) as connection:
                    assert response(connection).startswith(b"HTTP/1.1 200 ")
        finally:
            for one in held:
                one.close()


def limits_with(**values: float) -> type[LimitedProtocol]:
    """Return the protocol class with other limits."""

    class Protocol(LimitedProtocol):
        limits = Limits(**values)  # type: ignore[arg-type]

    return Protocol


async def answer(send: Send, body: bytes = b"ok") -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _next_millisecond() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 0.001:  # noqa: ASYNC110 - there is no event for a clock
        await asyncio.sleep(0)


@asynccontextmanager
async def connected(
    port: int, data: bytes = b"", until: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        if until:
            await reader.readuntil(until)
            await _next_millisecond()  # resolution of uvloop's clock
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_healthz_responds_when_all_connections_are_busy() -> None:
    go_on = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] != "/healthz":
            arrived.release()
            await go_on.wait()
        await answer(send)

    busy = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        serve_asgi(app, limits_with(connections=4)) as port,
        connected(port, busy) as one,
        connected(port, busy),
        connected(port, busy),
        connected(port, busy),
    ):
        for _ in range(4):
            await arrived.acquire()
        async with connected(port, busy) as (reader, _):
            received = await reader.read()
            assert is_error_response(received, 503, "too many connections")
            assert b"\r\nretry-after: 1\r\n" in received
        async with connected(port, GET) as (reader, _):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        go_on.set()
        assert (await one[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_longest_waiting_connection_is_evicted() -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send)

    async with (
        serve_asgi(app, limits_with(connections=3)) as port,
        # The half request is in the same read as a complete one, so it arrives before that response.
        connected(port, GET + GET[:-2], until=b"ok") as oldest,
        connected(port, GET, until=b"ok"),
        connected(port, GET, until=b"ok") as newer,
    ):
        async with connected(port, GET) as (reader, _):
            await reader.readuntil(b"ok")
            assert is_error_response(await oldest[0].read(), 503)
        newer[1].write(GET)
        await newer[0].readuntil(b"ok")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_stalled_client_is_cut_off() -> None:
    ended = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with serve_asgi(app, limits_with(stalled_seconds=0.5)) as port, connected(port, GET):
        await asyncio.wait_for(ended.wait(), DEADLINE)


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_trailers_are_limited_and_not_headers() -> None:
    received_headers: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        received_headers.append(dict(scope["headers"]))
        await answer(send)

    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    async with serve_asgi(app, limits_with(framing_bytes=10_000)) as port:
        async with connected(port, post + b"X-Forwarded-For: 1.2.3.4\r\n\r\n") as (reader, _):
            await reader.readuntil(b"ok")
        assert b"x-forwarded-for" not in received_headers[0]
        async with connected(port, post) as (reader, writer):
            while not reader._buffer:  # type: ignore[attr-defined]
                writer.write(b"A: b\r\n" * 100)
                await asyncio.sleep(0)
            assert is_error_response(await reader.read(), 400, "trailers")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_unread_body_uses_little_memory() -> None:
    held: list[int] = []
    go_on = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        while (message := await receive()).get("more_body"):
            held.append(len(message["body"]))
        await answer(send)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n"
    async with serve_asgi(app, limits_with()) as port, connected(port, head) as (reader, writer):
        writer.write(b"a" * 20_000_000)
        for _ in range(1_000):
            await asyncio.sleep(0)
        go_on.set()
        await reader.readuntil(b"ok")
    assert max(held) < 1_000_000


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_websockets_have_no_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    caplog.set_level(logging.CRITICAL)
    async with serve_asgi(app, limits_with(head_seconds=0.2, request_seconds=0.2)) as port:
        url = f"ws://127.0.0.1:{port}/"
        async with websockets.connect(url, proxy=None) as client, connected(port) as (reader, _):
            await client.send("one")
            assert await client.recv() == "one"
            assert await reader.read() == b""  # takes longer than the limits
            await client.send("two")
            assert await client.recv() == "two"


@pytest.mark.parametrize(
    "data", [GET, GET[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"\x16"]
)
@pytest.mark.anyio
async def test_connection_leaves_no_reference_cycle(data: bytes) -> None:
    made: list[Any] = []

    class Protocol(LimitedProtocol):
        limits = Limits(head_seconds=0.2)

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(ref(self))

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send)

    async with serve_asgi(app, Protocol) as port:
        gc.disable()
        try:
            async with connected(port, data) as (reader, _writer):
                await reader.read(1)
            async with connected(port, GET) as (reader, _):  # the server drops the previous connection
                await reader.readuntil(b"ok")
                assert made[0]() is None
        finally:
            gc.enable()
