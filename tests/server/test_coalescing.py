"""Write coalescing on a real connection: one write per response, framing, flow control."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cartapp.server.coalescing import CoalescingProtocol
from tests.support.asgi_server import serve_asgi

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNK = b"x" * 32_768
CHUNKS = 2_000  # exceeds the kernel's buffers


class CountingTransport:
    """Transport that records the writes."""

    def __init__(self, transport: asyncio.Transport, written: list[bytes]) -> None:
        self._transport, self._written = transport, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        self._transport.write(data)


@asynccontextmanager
async def served(
    app: ASGIApp,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, list[bytes]]]:
    """Connect to the application on uvicorn; yield the streams and the recorded writes."""
    written: list[bytes] = []

    class Protocol(CoalescingProtocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(CountingTransport(transport, written))

    async with serve_asgi(app, Protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer, written
        finally:
            writer.close()
            await writer.wait_closed()


async def small(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"2"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_response_is_one_write() -> None:
    async with served(small) as (reader, writer, written):
        for _ in range(3):
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(2) == b"ok"
        assert len(written) == 3


async def test_head_responses_and_pipelining() -> None:
    async def headless(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"2")]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"ok"})

    async with served(headless) as (reader, writer, _):
        writer.write(REQUEST.replace(b"GET", b"HEAD") + REQUEST)
        assert b"content-length: 2" in await reader.readuntil(b"\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(2) == b"ok"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            [[b"Content-Length", b"2"]],
            b"content-length: 2\r\nconnection: close\r\n\r\nok",
        ),  # a list instead of a tuple
        ([], b"chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ([(b"transfer-encoding", b"chunked")], b"close\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ([(b"content-length", b"2"), (b"connection", b"close")], b"connection: close\r\n\r\nok"),
    ],
)
async def test_response_framing_is_unchanged(
    headers: list[tuple[bytes, bytes]], expected: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def answering(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(answering) as (reader, writer, _):
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await reader.read()
        assert answer.endswith(expected)
        assert answer.count(b"connection: close") == 1


@pytest.mark.parametrize("header", [(b"x", b"a\r\nset-cookie: b"), (b"x:y", b"a")])
async def test_header_injection_closes_the_connection(
    header: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def injecting(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"2"), header]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(injecting) as (reader, writer, _):
        writer.write(REQUEST)
        assert await reader.read() == b""  # uvicorn closes the connection


@pytest.mark.parametrize("length", [b"1", b"3"])
async def test_response_with_wrong_content_length_is_truncated(
    length: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def lying(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    async with served(lying) as (reader, writer, _):
        writer.write(REQUEST)
        _head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert len(body) < int(length)  # truncated, so that the client notices


async def test_last_response_is_sent_before_closing() -> None:
    async with served(small) as (reader, writer, _):
        writer.write(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = await reader.read()
        assert answer.endswith(b"\r\n\r\nok")


async def test_stream_is_not_delayed() -> None:
    arrived = asyncio.Event()

    async def streaming(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await arrived.wait()
        await send({"type": "http.response.body", "body": b"second"})

    async with served(streaming) as (reader, writer, _):
        writer.write(REQUEST)
        await reader.readuntil(b"first")
        arrived.set()
        await reader.readuntil(b"second")


async def test_slow_client_pauses_the_application() -> None:
    made = 0
    full = asyncio.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        asyncio.get_running_loop().call_soon(full.set)  # runs when `send` waits
        for _ in range(CHUNKS):
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            made += 1
        await send({"type": "http.response.body", "body": b"the end"})

    async with served(endless) as (reader, writer, _):
        writer.write(REQUEST)
        await full.wait()
        assert made < CHUNKS
        await _read_to_the_end(reader)
        assert made == CHUNKS


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    last = b""
    while not last.endswith(b"the end\r\n0\r\n\r\n"):
        last = last[-20:] + await reader.read(1_000_000)
