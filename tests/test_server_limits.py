"""The limits of `cart serve`: size and time of a request, connections, and unread bodies."""

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

from .conftest import ON_BOTH_LOOPS
from .running import bare
from .servers.process import Server, accepts, free_port
from .serving import serving
from .waiting import DEADLINE, wait_for

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
ROOT = Path(__file__).parent.parent


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
        """Everything that comes until the server closes the connection."""
        with self.connection(data) as connection:
            return rest(connection)


@contextmanager
def limited_shop(folder: Path, *, descriptors: int | None = None, **limits: float) -> Iterator[Shop]:
    """`cart serve` with other limits, in a process with so many descriptors."""
    port = free_port()
    command = [sys.executable, "-c", START, json.dumps(limits), json.dumps(descriptors)]
    env = bare({"CART_LOG_LEVEL": "INFO", "PYTHONPATH": str(ROOT)})
    with Server(
        [*command, "serve", "--port", str(port)], folder=folder, ready=lambda: accepts(port), env=env
    ) as server:
        yield Shop(port, server)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """With the limits of size that users get, and little time."""
    with limited_shop(tmp_path_factory.mktemp("limits"), **SMALL) as running:
        yield running


def rest(connection: socket.socket) -> bytes:
    """Everything that comes until the connection is closed."""
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def response(connection: socket.socket) -> bytes:
    """One response with a `Content-Length`."""
    with connection.makefile("rb", buffering=0) as stream:
        head = b"".join(iter(stream.readline, b"\r\n"))
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        body = b""
        while len(body) < int(length[1]):
            body += stream.read(int(length[1]) - len(body))
        return head + b"\r\n" + body


def is_refusal(received: bytes, status: int, *words: str) -> bool:
    """Whether this is a response of the server itself, which closes the connection."""
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
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_000_000,  # which never ends
        b"GET /" + b"a" * 1_000_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 1_000_000,
    ],
    ids=["header", "headers", "target", "endless header", "endless target", "endless name"],
)
def test_a_large_head_is_431(shop: Shop, head: bytes) -> None:
    assert is_refusal(shop.exchange(head), 431, "headers are too large", "32768 bytes")


def test_many_header_lines_are_431(shop: Shop) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100 + b"\r\n"
    assert is_refusal(shop.exchange(head), 431, "too many header lines", "100")


@pytest.mark.parametrize("size", [1, 1_000, 31_000])
def test_a_head_within_the_limit_is_served(shop: Shop, size: int) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * size + b"\r\n\r\n"
    with shop.connection(head * 3) as connection:
        for _ in range(3):
            assert response(connection).startswith(b"HTTP/1.1 200 ")


def test_a_body_before_a_head_does_not_count(shop: Shop) -> None:
    post = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"a" * 60_000
    with shop.connection(post + GET[:20]) as connection:
        assert response(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(GET[20:])
        assert response(connection).startswith(b"HTTP/1.1 200 ")


def test_half_a_head_is_408(shop: Shop) -> None:
    assert is_refusal(shop.exchange(GET[:-2]), 408, "headers did not arrive")


def test_a_head_that_trickles_is_408(shop: Shop) -> None:
    with shop.connection(GET[:-2]) as connection:
        connection.settimeout(0.05)
        received = b""
        while not received:
            connection.sendall(b"X: y\r\n")
            with suppress(TimeoutError):
                received = connection.recv(65_536)
        connection.settimeout(20)
        assert is_refusal(received + rest(connection), 408)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n\r\n", GET, GET + b"\r\n"],
    ids=["nothing", "line breaks", "after a request", "line breaks after a request"],
)
def test_a_silent_connection_is_closed(shop: Shop, sent: bytes) -> None:
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
def test_half_a_body_is_408(shop: Shop, post: bytes) -> None:
    assert is_refusal(shop.exchange(post), 408, "body did not arrive")


def test_a_websocket_handshake_with_a_body_is_400(shop: Shop) -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 9\r\n\r\n"
    )
    assert is_refusal(shop.exchange(upgrade), 400, "no body")


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
def test_h11_a_request_has_one_host(shop: Shop, head: bytes, status: bytes) -> None:
    assert shop.exchange(head).split(b" ", 2)[1] == status


def test_what_is_no_http_is_400(shop: Shop) -> None:
    assert is_refusal(shop.exchange(b"\x16\x03\x01\x02\x00"), 400)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 600_000, None),  # without a place in the order of responses
        (b"NO\x00HTTP", None),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz", 400),
    ],
)
def test_a_bad_request_waits_for_the_responses_before_it(shop: Shop, bad: bytes, status: int | None) -> None:
    get = GET.replace(b"/healthz", b"/api/cart")
    received = shop.exchange(get + get + bad)
    assert received.startswith(b"HTTP/1.1 200 ")
    first, second, *others = received.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200 ")
    assert second.startswith(b"200 ")
    if status is not None:
        assert is_refusal(b"HTTP/1.1 " + others.pop(), status)
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
def test_a_response_before_the_end_of_the_body_closes_the_connection(
    shop: Shop, request_line: bytes, headers: bytes, status: int
) -> None:
    head = request_line + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n\r\n"
    with shop.connection(head) as connection:
        received = rest(connection)  # until the server's end of the stream, though more could be sent
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert received.lower().count(b"\r\nconnection: close\r\n") == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 4000000", b"Transfer-Encoding: chunked"])
def test_the_413_reaches_a_client_that_sends_its_body_first(shop: Shop, framing: bytes) -> None:
    chunk = b"%x\r\n%s\r\n" % (4_000_000, b"a" * 4_000_000)
    body = chunk + b"0\r\n\r\n" if b"chunked" in framing else b"a" * 4_000_000
    received = shop.exchange(b"POST /api/cart/add HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n" + body)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"65536 bytes" in received


def test_a_body_that_goes_on_and_on_is_cut(tmp_path: Path) -> None:
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
def test_a_whole_body_that_nothing_reads_keeps_the_connection(shop: Shop, path: bytes) -> None:
    post = b"DELETE " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with shop.connection(post) as connection:
        assert b"connection: close" not in response(connection)
        connection.sendall(GET)
        assert response(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("apart", [False, True])
def test_after_an_upgrade_that_is_not_made_the_connection_is_of_use_or_closed(
    shop: Shop, apart: bool
) -> None:
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


def test_the_log_counts_what_the_limits_ended(shop: Shop) -> None:
    shop.exchange(GET[:-2])
    wait_for(lambda: "Ended by a limit since the last such line: " in shop.server.output)


def test_half_requests_do_not_hold_up_the_end(tmp_path: Path) -> None:
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


def test_descriptors_last_for_other_connections(tmp_path: Path) -> None:
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
    """The protocol with other limits."""

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
            await _next_millisecond()  # the clock of uvloop goes no finer
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_when_all_connections_are_busy_health_is_still_answered() -> None:
    go_on = asyncio.Event()
    arrived = asyncio.Semaphore(0)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] != "/healthz":
            arrived.release()
            await go_on.wait()
        await answer(send)

    busy = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"
    async with (
        serving(app, limits_with(connections=4)) as port,
        connected(port, busy) as one,
        connected(port, busy),
        connected(port, busy),
        connected(port, busy),
    ):
        for _ in range(4):
            await arrived.acquire()
        async with connected(port, busy) as (reader, _):
            received = await reader.read()
            assert is_refusal(received, 503, "too many connections")
            assert b"\r\nretry-after: 1\r\n" in received
        async with connected(port, GET) as (reader, _):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        go_on.set()
        assert (await one[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_the_connection_that_has_waited_longest_makes_room() -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await answer(send)

    async with (
        serving(app, limits_with(connections=3)) as port,
        # Half of a request in the same read as a whole one: with the response, it has arrived.
        connected(port, GET + GET[:-2], until=b"ok") as oldest,
        connected(port, GET, until=b"ok"),
        connected(port, GET, until=b"ok") as newer,
    ):
        async with connected(port, GET) as (reader, _):
            await reader.readuntil(b"ok")
            assert is_refusal(await oldest[0].read(), 503)
        newer[1].write(GET)
        await newer[0].readuntil(b"ok")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_a_client_that_takes_nothing_of_a_response_is_cut_off() -> None:
    ended = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1_000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with serving(app, limits_with(stalled_seconds=0.5)) as port, connected(port, GET):
        await asyncio.wait_for(ended.wait(), DEADLINE)


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_trailers_are_no_headers_and_have_a_limit() -> None:
    told: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        told.append(dict(scope["headers"]))
        await answer(send)

    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    async with serving(app, limits_with(framing_bytes=10_000)) as port:
        async with connected(port, post + b"X-Forwarded-For: 1.2.3.4\r\n\r\n") as (reader, _):
            await reader.readuntil(b"ok")
        assert b"x-forwarded-for" not in told[0]
        async with connected(port, post) as (reader, writer):
            while not reader._buffer:  # type: ignore[attr-defined]
                writer.write(b"A: b\r\n" * 100)
                await asyncio.sleep(0)
            assert is_refusal(await reader.read(), 400, "trailers")


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_a_body_that_the_application_does_not_read_takes_little_memory() -> None:
    held: list[int] = []
    go_on = asyncio.Event()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        while (message := await receive()).get("more_body"):
            held.append(len(message["body"]))
        await answer(send)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n"
    async with serving(app, limits_with()) as port, connected(port, head) as (reader, writer):
        writer.write(b"a" * 20_000_000)
        for _ in range(1_000):
            await asyncio.sleep(0)
        go_on.set()
        await reader.readuntil(b"ok")
    assert max(held) < 1_000_000


@ON_BOTH_LOOPS
@pytest.mark.anyio
async def test_websockets_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    caplog.set_level(logging.CRITICAL)
    async with serving(app, limits_with(head_seconds=0.2, request_seconds=0.2)) as port:
        url = f"ws://127.0.0.1:{port}/"
        async with websockets.connect(url, proxy=None) as client, connected(port) as (reader, _):
            await client.send("one")
            assert await client.recv() == "one"
            assert await reader.read() == b""  # which takes longer than the limits
            await client.send("two")
            assert await client.recv() == "two"


@pytest.mark.parametrize(
    "data", [GET, GET[:-2], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"\x16"]
)
@pytest.mark.anyio
async def test_a_connection_leaves_no_cycle(data: bytes) -> None:
    made: list[Any] = []

    class Protocol(LimitedProtocol):
        limits = Limits(head_seconds=0.2)

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(ref(self))

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send)

    async with serving(app, Protocol) as port:
        gc.disable()
        try:
            async with connected(port, data) as (reader, _writer):
                await reader.read(1)
            async with connected(port, GET) as (reader, _):  # for the server to forget the one before
                await reader.readuntil(b"ok")
                assert made[0]() is None
        finally:
            gc.enable()
